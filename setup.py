"""The native part of the build; what is static stands in pyproject.toml.

Every src/turboserver/_*.pyx becomes the extension turboserver._name. All of csrc/ is compiled once into a static
library that each extension links (it has no state, so copies of it cannot disagree). Generated C goes to build/cython.

Switches, in the environment (the same ones locally and in CI):
    TURBOSERVER_DEBUG=1        -O1 -g, and the invariants of csrc/ are checked
    TURBOSERVER_SANITIZE=...   address,undefined or thread
    TURBOSERVER_COVERAGE=1     gcov
    TURBOSERVER_PURE=1         no extensions: the package falls back to the standard library's classes

Without extensions it is installed too where there can be none: on other systems than Linux and macOS, on other Pythons
than CPython, and where no C compiler or no Python.h is found. A compiler that is there must succeed: an error in our own
code never turns into a slow installation.
"""

import gzip
import os
import sys
import sysconfig
import tarfile
import tempfile
from functools import cache
from glob import glob
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

CORE = "turboserver_core"
BACKENDS = {"poller_epoll.c": "linux", "poller_kqueue.c": "darwin"}
JOBS = 2


def switch(name):
    return os.environ.get(f"TURBOSERVER_{name}", "") not in ("", "0")


DEBUG, COVERAGE, PURE = switch("DEBUG"), switch("COVERAGE"), switch("PURE")
SANITIZE = os.environ.get("TURBOSERVER_SANITIZE", "")
RELEASE = not (DEBUG or COVERAGE or SANITIZE)

# Objects of different switches, or of different Pythons, never meet.
MODE = "-".join(
    [sysconfig.get_platform(), sys.implementation.cache_tag or sys.implementation.name]
    + (["t"] if sysconfig.get_config_var("Py_GIL_DISABLED") else [])
    + (["debug"] if DEBUG else [])
    + (["coverage"] if COVERAGE else [])
    + ([SANITIZE.replace(",", "+")] if SANITIZE else [])
)


def flags():
    """(for the compiler, for the linker)"""
    compiler = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-pthread"]
    linker = ["-pthread"]
    if DEBUG or SANITIZE:
        # Python's own flags define NDEBUG, which would take the assertions out again.
        compiler += ["-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG", "-DTS_DEBUG"]
    if SANITIZE:
        compiler += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
        linker += [f"-fsanitize={SANITIZE}"]
    if COVERAGE:
        compiler += ["--coverage", "-O0"]
        linker += ["--coverage"]
    if RELEASE:
        # Each extension has the whole library linked in, and Cython's own functions: what it never calls is left out.
        # Nor are there names for a debugger, which a Python that was built by hand asks for: TURBOSERVER_DEBUG has them.
        compiler += ["-ffunction-sections", "-fdata-sections", "-g0"]
        linker += ["-Wl,-dead_strip"] if sys.platform == "darwin" else ["-Wl,--gc-sections"]
    return compiler, linker


def strip_flags():
    """For the linker of what is installed elsewhere. In place the names stay: bench/instructions.py and profilers read them."""
    if not RELEASE:
        return []
    return ["-Wl,-S", "-Wl,-x"] if sys.platform == "darwin" else ["-Wl,--strip-all"]


def core_sources():
    return sorted(
        path for path in glob("csrc/*.c") if BACKENDS.get(os.path.basename(path), sys.platform) == sys.platform
    )


def headers():
    return sorted(glob("csrc/*.h"))


@cache
def why_pure():
    """Why there can be no extensions here; None if there can."""
    if PURE:
        return "TURBOSERVER_PURE is set"
    if sys.platform not in ("linux", "darwin"):
        return f"the native engine is for Linux and macOS, not {sys.platform}"
    if sys.implementation.name != "cpython":
        return f"the native engine is for CPython, not {sys.implementation.name}"
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    with tempfile.TemporaryDirectory() as folder:
        for text, missing in (
            ("int main(void) { return 0; }\n", "no working C compiler was found"),
            ("#include <Python.h>\n", "Python.h was not found (python3-dev, python3-devel)"),
        ):
            source = Path(folder, "probe.c")
            source.write_text(text)
            compiler = new_compiler()
            customize_compiler(compiler)
            try:
                compiler.compile(
                    [str(source)], output_dir=folder, include_dirs=[sysconfig.get_path("include")]
                )
            except Exception:  # whatever kind of failure: it says that there is no compiler to use
                return missing
    return None


class BuildCore(build_clib):
    def finalize_options(self):
        super().finalize_options()
        # A fixed place, so that an editable installation, too, compiles only what changed.
        self.build_clib = self.build_temp = os.path.join("build", "core-" + MODE)

    def run(self):
        if why_pure():
            return
        os.makedirs(self.build_clib, exist_ok=True)
        super().run()


class BuildExtensions(build_ext):
    def finalize_options(self):
        if self.parallel is None:
            self.parallel = JOBS
        super().finalize_options()
        self.build_temp = os.path.join("build", "temp-" + MODE)

    def run(self):
        reason = why_pure()
        if reason:
            print(f"turboserver: {reason}; installing without the native engine, on the standard library's classes")
            self.extensions = []
            return
        from Cython.Build import cythonize

        self.run_command("build_clib")
        # Without `depends`, which are about compiling C and which cythonize would copy into build_dir.
        generated = cythonize(
            [Extension(extension.name, extension.sources) for extension in self.extensions],
            build_dir=os.path.join("build", "cython"),
            include_path=["src"],
            nthreads=JOBS if len(self.extensions) > 1 else 0,
            language_level=3,
            annotate=False,
            compiler_directives={"wraparound": False},
        )
        for extension, new in zip(self.extensions, generated, strict=True):
            extension.sources = new.sources
            if not self.inplace:
                extension.extra_link_args += strip_flags()
        # The names of extensions do not tell the switches apart; those in place and those elsewhere each have a mode.
        place = "" if self.inplace else Path(self.build_lib).name + "-"
        stamp = Path("build", f"mode-{place}{sys.implementation.cache_tag}")
        if not stamp.exists() or stamp.read_text() != MODE:
            self.force = True
        super().run()
        stamp.write_text(MODE)

    def build_extensions(self):
        # A Python that was built by hand has the loader look into its own folder. We need no library from there, and what
        # is installed elsewhere is not to name folders of this machine.
        self.compiler.linker_so = [flag for flag in self.compiler.linker_so if not flag.startswith("-Wl,-rpath")]
        super().build_extensions()

    def build_extension(self, extension):
        """What was compiled for the installation in place is linked for a wheel, and not compiled again.

        Names of folders tell objects of other switches and other Pythons apart; those here are newer than their sources.
        """
        from setuptools.modified import newer_group

        objects = self.compiler.object_filenames(extension.sources, output_dir=self.build_temp)
        made_of = extension.sources + extension.depends
        if not self.inplace and not any(newer_group(made_of, path, "newer") for path in objects):
            extension.extra_objects, extension.sources = objects, []
        super().build_extension(extension)


class SourceArchive(sdist):
    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        """With SOURCE_DATE_EPOCH (seconds): the same octets whenever, wherever and by whom it is made."""
        moment = os.environ.get("SOURCE_DATE_EPOCH")
        if format != "gztar" or moment is None:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)

        def plain(member):
            member.mtime, member.uid, member.gid, member.uname, member.gname = int(moment), 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        path = base_name + ".tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=int(moment)) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=plain)  # goes through folders by name
        return path


class NativeDistribution(Distribution):
    def has_ext_modules(self):
        """Also when no compiler was found: that wheel must not be taken for one that fits everywhere."""
        return not PURE


def extensions():
    compiler, linker = flags()
    return [
        Extension(
            f"turboserver.{Path(path).stem}",
            [path],
            include_dirs=["csrc"],
            extra_compile_args=compiler,
            extra_link_args=linker.copy(),
            # The library is linked in, so its sources count as well.
            depends=headers() + core_sources(),
        )
        for path in sorted(glob("src/turboserver/_*.pyx"))
    ]


# Processes that cythonize starts may import this file again.
if __name__ == "__main__":
    setup(
        distclass=NativeDistribution,
        cmdclass={"build_clib": BuildCore, "build_ext": BuildExtensions, "sdist": SourceArchive},
        ext_modules=[] if PURE else extensions(),
        libraries=[]
        if PURE
        else [
            (
                CORE,
                {
                    "sources": core_sources(),
                    "include_dirs": ["csrc"],
                    "obj_deps": {"": headers()},
                    "cflags": flags()[0],
                },
            )
        ],
    )
