"""What the fuzz targets in Python share: the loop, octets to draw from, and a handler's way to say what it saw.

With atheris the loop is libFuzzer's, led by coverage. Without it a random generator mutates the seeds; the same options
are understood as far as they make sense (-max_total_time, -runs, -seed, -max_len, -artifact_prefix, -dict), and files
that are named are run once each. An input that fails ends the run with status 77 and lies at the artifact prefix.
"""

import ast
import mmap
import os
import random
import re
import sys
import time
import traceback

try:
    import atheris
except ImportError:
    atheris = None


class Draw:
    """Numbers and octets from an input: from its front what stands there, from its back what decides."""

    def __init__(self, octets):
        self.octets = octets
        self.at, self.end = 0, len(octets)

    def __bool__(self):
        return self.at < self.end

    def number(self, below=256):
        """From the back; 0 when nothing is left."""
        if self.at >= self.end:
            return 0
        self.end -= 1
        return self.octets[self.end] % below

    def take(self, n):
        """Up to n octets from the front."""
        taken = self.octets[self.at:min(self.at + n, self.end)]
        self.at += len(taken)
        return taken

    def rest(self):
        return self.take(self.end - self.at)


def pieces(octets, draw):
    """The octets in one to eight pieces."""
    cuts = sorted(draw.number() * len(octets) // 256 for _ in range(draw.number(8)))
    return [octets[i:j] for i, j in zip([0, *cuts], [*cuts, len(octets)]) if i < j]


# ---- without atheris ---------------------------------------------------------------------------

def words_of(path):
    """The octets of each word of a dictionary in libFuzzer's format."""
    with open(path, encoding="latin-1") as lines:
        found = [re.search(r'"(.*)"\s*$', line) for line in lines if not line.startswith("#")]
    return [ast.literal_eval(f'b"{match[1]}"') for match in found if match]


def mutated(octets, others, words, rng, most):
    octets = bytearray(octets)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(octets) + 1)
        what = rng.randrange(7)
        if what == 0 and octets:
            octets[at - 1] = rng.randrange(256)
        elif what == 1 and octets:
            octets[at - 1] ^= 1 << rng.randrange(8)
        elif what == 2:
            octets[at:at] = rng.choice(words) if words else b"\r\n"
        elif what == 3:
            del octets[at:at + rng.choice((1, 2, 4, 40))]
        elif what == 4:
            octets[at:at] = octets[at:at + rng.choice((1, 4, 40))]
        elif what == 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            octets[at:at] = other[start:start + rng.choice((1, 4, 40, 400))]
        else:
            octets.append(rng.randrange(256))
    return bytes(octets[:most])


def plain_fuzz(one_input, arguments):
    options = dict(re.fullmatch(r"-(\w+)=(.*)", word).groups() for word in arguments if word.startswith("-"))
    paths = [word for word in arguments if not word.startswith("-")]
    inputs, is_replay = [], bool(paths) and all(os.path.isfile(path) for path in paths)
    for path in paths:
        for name in [path] if os.path.isfile(path) else sorted(entry.path for entry in os.scandir(path)):
            with open(name, "rb") as file:
                inputs.append(file.read())
    inputs = inputs or [b""]
    seed = int(options.get("seed") or random.SystemRandom().randrange(1 << 32))
    print(f"INFO: no atheris: a random generator, seed {seed}, {len(inputs)} inputs", flush=True)
    rng, words = random.Random(seed), words_of(options["dict"]) if "dict" in options else []
    prefix, most = options.get("artifact_prefix", "./"), int(options.get("max_len", 4096))
    seconds, runs = float(options.get("max_total_time", 0)), int(options.get("runs", -1))
    # What is under way, for whoever finds the process dead.
    with open(prefix + "present", "w+b") as file:
        file.truncate(1 << 20)
        present = mmap.mmap(file.fileno(), 1 << 20)
    start, done = time.monotonic(), 0
    while True:
        if done < len(inputs):
            octets = inputs[done]
        elif is_replay or 0 <= runs <= done or seconds and time.monotonic() - start > seconds:
            break
        else:
            octets = mutated(rng.choice(inputs), inputs, words, rng, most)
        present[0:4] = len(octets).to_bytes(4, "little")
        present[4:4 + len(octets)] = octets
        try:
            one_input(octets)
        except BaseException:
            traceback.print_exc()
            if not is_replay:
                path = f"{prefix}crash-{seed}-{done}"
                with open(path, "wb") as file:
                    file.write(octets)
                print(f"Test unit written to {path}", file=sys.stderr)
            sys.exit(77)
        done += 1
    present.close()
    os.unlink(prefix + "present")
    print(f"Done {done} runs in {time.monotonic() - start:.0f} second(s)", flush=True)
    sys.stdout.flush()
    os._exit(0)     # as libFuzzer ends, whatever threads there are


def main(one_input):
    if atheris is None:
        plain_fuzz(one_input, sys.argv[1:])
    else:
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
