"""Looks at archives: `python wheels/check.py [--local] [--complete] FILE...`, each a wheel or the source archive.
Ends with 1 if any is wrong.

A wheel: not larger than LIMIT; exactly the modules of src/turboserver and its extensions, one for each .pyx, all for the one
Python that its name says; no sources and no tests; and each extension stripped, free of paths of the machine that built it,
exporting its PyInit_ function alone, asking for no other library than the system's, with no writable code. Without
any extension it is the fallback's, and its name must say `py3-none-any` or, from a machine without a compiler, a platform.

The source archive: everything to build and to test from, and nothing that was built.

--local allows the platform `linux_x86_64` (not yet repaired by auditwheel), which no index takes. --complete: there is one
source archive and one wheel for each line of wheels/identifiers.txt, and none else.

What may not live here: running what is looked at; wheels of other processors and systems are looked at as well.
"""

import argparse
import re
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
#: Octets of a wheel: what one waits for on a slow line, and twenty extensions with C of their own have room in.
LIMIT = 3 * 512 * 1024
#: What an extension may ask the loader for. OpenSSL is Python's, by its `ssl` module, and never ours.
LIBRARIES = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s)\.so\.\d+|ld-linux[a-z0-9_.-]*|(libc|ld)[.-]musl-\w+\.so\.1")
EXTENSION = re.compile(r"turboserver/(_\w+)\.(?:cpython-(\d+t?)-[\w-]+|abi3)\.so")


def expected():
    """(names of extensions, names of all other files of the package) by the sources beside this file."""
    package = ROOT / "src" / "turboserver"
    extensions = {path.stem for path in package.glob("_*.pyx")}
    others = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".py", ".pyi", ".html", ".css", ".js") or path.name == "py.typed"
    }
    return extensions, others


def look_at_elf(data):
    """Yields what is wrong with an extension for Linux."""
    elf = ELFFile(BytesIO(data))
    for section in elf.iter_sections():
        if section.name in (".symtab", ".strtab") or section.name.startswith((".debug", ".zdebug")):
            yield f"not stripped: {section.name}"
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_GNU_STACK" and segment["p_flags"] & 1:
            yield "its stack is executable"
        if segment["p_type"] == "PT_LOAD" and segment["p_flags"] & 3 == 3:
            yield "its code is writable"
    dynamic = elf.get_section_by_name(".dynamic")
    for tag in dynamic.iter_tags():
        if tag.entry.d_tag == "DT_NEEDED" and not LIBRARIES.fullmatch(tag.needed):
            yield f"asks for {tag.needed}"
        if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH", "DT_TEXTREL"):
            yield f"has {tag.entry.d_tag}"
    exported = {
        symbol.name
        for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
    }
    # What old linkers add to each library themselves.
    exported -= {"_init", "_fini", "_edata", "_end", "__bss_start"}
    if len(exported) != 1 or not next(iter(exported)).startswith("PyInit_"):
        yield f"exports {', '.join(sorted(exported)) or 'nothing'}"


def look_at_extension(data):
    """Yields what is wrong with one, by its format."""
    if data.startswith(b"\x7fELF"):
        try:
            yield from look_at_elf(data)
        except ELFError as error:
            yield f"cannot be read: {error}"
    elif data[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        if b"__DWARF" in data:
            yield "not stripped: __DWARF"
    else:
        yield f"neither ELF nor Mach-O: {data[:4]!r}"
    found = re.search(rb"/(?:home|root|Users|tmp|private|project)/[\w./-]+", data)
    if found:
        yield f"names a place of the machine that built it: {found[0].decode()}"


def look_at_wheel(path, local):
    """Yields what is wrong with a wheel."""
    size = path.stat().st_size
    if size > LIMIT:
        yield f"{size:,} octets, and {LIMIT:,} are allowed"
    _, _, _, tags = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    extensions, others = expected()
    information = {name for name in content if name.split("/")[0].endswith(".dist-info")}
    found = {match[1]: match[2] for match in map(EXTENSION.fullmatch, content) if match}
    natives = {name for name in content if name.endswith((".so", ".pyd", ".dylib"))}
    package = set(content) - information - natives
    for name in sorted(package - others):
        yield f"{name} is no part of the package"
    for name in sorted(others - package):
        yield f"{name} is missing"
    if natives:
        for name in sorted(extensions - set(found)):
            yield f"the extension {name} is missing"
        for name in sorted(set(found) - extensions) + sorted(natives - {n for n in content if EXTENSION.fullmatch(n)}):
            yield f"the extension {name} has no source"
        if len(natives) != len(found):
            yield f"{len(natives)} extensions of {len(found)} names: those of two Pythons"
        abis = {tag.abi for tag in tags}
        if {f"cp{version}" for version in found.values()} != abis:
            yield f"for {', '.join(sorted(abis))}, with extensions for {', '.join(sorted(set(found.values())))}"
    if any(tag.platform.startswith("linux_") for tag in tags) and not local:
        yield "not repaired: no index takes the platform linux_*"
    for name in sorted(natives):
        for wrong in look_at_extension(content[name]):
            yield f"{name}: {wrong}"
    folder = next(iter(information)).split("/")[0]
    yield from look_at_metadata(content.get(f"{folder}/METADATA", b"").decode())
    if f"{folder}/licenses/LICENSE" not in information:
        yield "the licence is missing"
    if b"turboserver = turboserver.cli:main" not in content.get(f"{folder}/entry_points.txt", b""):
        yield "the command turboserver is missing"


def look_at_metadata(text):
    """Yields what is wrong with METADATA or PKG-INFO."""
    fields = HeaderParser().parsestr(text)
    if fields["License-Expression"] != "MIT":
        yield "License-Expression is not MIT"
    if fields["Requires-Python"] != ">=3.11":
        yield f"Requires-Python is {fields['Requires-Python']}"
    if "Typing :: Typed" not in fields.get_all("Classifier", []):
        yield "Typing :: Typed is missing"
    if any("extra ==" not in line for line in fields.get_all("Requires-Dist", [])):
        yield "it depends on something"
    if not fields.get_payload().strip():
        yield "the readme is missing"


#: What nobody could build or test without; that nothing at all is forgotten, tests/test_packaging.py sees by git.
NEEDED = (
    "LICENSE", "README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "Makefile", "PKG-INFO", "pyproject.toml", "setup.py",
    "csrc/scan.c", "csrc/scan.h", "src/turboserver/_engine.pyx", "src/turboserver/_engine.pxd",
    "src/turboserver/files/page.html", "tests/conftest.py", "tests/data/localhost.pem", "bench/instructions.json",
    "wheels/check.py", "docs/index.md",
)


def look_at_source(path):
    """Yields what is wrong with the source archive."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        information = next((member for member in members if member.name.count("/") == 1 and member.name.endswith("/PKG-INFO")), None)
        metadata = archive.extractfile(information).read().decode() if information else ""
    names = {member.name.partition("/")[2] for member in members if not member.isdir()}
    for name in NEEDED:
        if name not in names:
            yield f"{name} is missing"
    for name in sorted(names):
        if re.search(r"\.(so|o|a|py[cod]|gc..)$|(^|/)(__pycache__|\.venv[^/]*|\.git|\.hypothesis)/|^(build|dist)/", name):
            yield f"{name} was built, or is this machine's"
        if re.fullmatch(r"src/.*\.c(pp)?", name):
            yield f"{name} is Cython's work: which Cython is decided where it is built"
    for member in members:
        if not (member.isfile() or member.isdir()):
            yield f"{member.name} is neither a file nor a folder"
        if member.name.startswith("/") or ".." in member.name.split("/"):
            yield f"{member.name} leaves the archive"
    yield from look_at_metadata(metadata)


def look_at(path, local=False):
    """What is wrong with an archive: a list of sentences, empty if nothing is."""
    return list(look_at_wheel(path, local) if path.suffix == ".whl" else look_at_source(path))


def identifier(path):
    """What cibuildwheel calls a wheel: `cp314t-manylinux_x86_64`, `cp311-macosx_arm64`."""
    _, _, _, tags = parse_wheel_filename(path.name)
    tag = max(tags, key=lambda tag: tag.platform)
    system, processor = re.match(r"([a-z]+)\d*_?(?:\d+_\d+_)?(.+)", tag.platform).groups()
    return f"{tag.abi}-{system}_{processor}"


def missing(paths):
    """Yields what of a release is not there, or is there besides."""
    wanted = (ROOT / "wheels" / "identifiers.txt").read_text().split()
    found = [identifier(path) for path in paths if path.suffix == ".whl"]
    for name in sorted(set(wanted) - set(found)):
        yield f"no wheel {name}"
    for name in sorted(set(found)):
        if name not in wanted or found.count(name) != 1:
            yield f"{found.count(name)} wheels {name}"
    if len(paths) - len(found) != 1:
        yield f"{len(paths) - len(found)} source archives"
    if len({path.name.split("-")[1].removesuffix(".tar.gz") for path in paths}) != 1:
        yield "not of one version"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--local", action="store_true", help="wheels that auditwheel has not seen are allowed")
    parser.add_argument("--complete", action="store_true", help="all archives of a release are given")
    arguments = parser.parse_args()
    wrong = 0
    for path in arguments.archives:
        found = look_at(path, arguments.local)
        wrong += len(found)
        print(f"{path.name}: {path.stat().st_size:,} octets, {'; '.join(found) or 'as it should be'}")
    for found in missing(arguments.archives) if arguments.complete else ():
        wrong += 1
        print(found)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
