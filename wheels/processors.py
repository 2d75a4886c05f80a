"""That what is built runs on every processor of its kind: `python wheels/processors.py FOLDER...`, in which objects (.o) lie.

x86-64 without more has SSE2. Wider registers may appear only in functions that csrc/ names as such (`target("avx2")`), which
are chosen when it runs. A `-march=native`, from whichever variable of the environment, would put them anywhere. Objects
are looked at rather than wheels, for these have no names of functions any more; objdump (binutils) is needed.

What may not live here: what flags are given; that is setup.py's.
"""

import re
import subprocess
import sys
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
FUNCTION = re.compile(r"^[0-9a-f]+ <([\w.]+)>:$")
WIDE = re.compile(r"%[yz]mm\d|\t(v\w+|andn|bextr|blsr|blsi|blsmsk|bzhi|pext|pdep|mulx|rorx|sarx|shlx|shrx|movbe)\s")


def chosen(folder=CSRC):
    """Names of the functions that may: those that are defined behind `__attribute__((target(...)))`."""
    return {
        name
        for path in folder.glob("*.c")
        for name in re.findall(r'__attribute__\(\(target\("[^"]+"\)\)\)[^;{(]*?(\w+)\(', path.read_text())
    }


def wide(listing, allowed):
    """Functions of a listing by objdump that use what not every x86-64 has, without those `allowed`: a sorted list."""
    found, function = set(), ""
    for line in listing.splitlines():
        match = FUNCTION.match(line)
        if match:
            # GCC's copies of a function have more behind a dot.
            function = match[1].partition(".")[0]
        elif function not in allowed and WIDE.search(line):
            found.add(function)
    return sorted(found)


def main(folders):
    objects = sorted(path for folder in folders for path in Path(folder).rglob("*.o"))
    if not objects:
        sys.exit("no objects (.o) are there to look at")
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", *map(str, objects)], capture_output=True, text=True, check=True
    ).stdout
    found = wide(listing, chosen())
    if found:
        sys.exit(f"not every x86-64 can run {', '.join(found)}")
    print(f"{len(objects)} objects: any x86-64 can run them, but for {len(chosen())} functions that are chosen at run time")


if __name__ == "__main__":
    main(sys.argv[1:])
