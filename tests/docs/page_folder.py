"""What the blocks of docs/folder.md have to do."""
import json

from .checks import Checks, lines

checks = Checks("docs/folder.md")


def served(stage, *options):
    stage.write("served/words.txt", "alpha\nbeta\n")
    stage.start(" ".join(["turboserver served --bind 127.0.0.1:8000", *options]))


@checks("start")
def start(stage):
    """What is said at the start, which goes on until Ctrl-C."""
    command, *said = stage.here(stage.block.text).splitlines()
    started = stage.start(command.removeprefix("$ "))
    started.wait_for(lambda: "Ctrl-C" in started.said())
    heard = started.said().splitlines()
    assert heard[0].startswith(said[0].removesuffix("...")) and heard[1:3] == said[1:3]


@checks("json")
def as_json(stage):
    served(stage)
    assert "words.txt" in json.dumps(json.loads(stage.curl(lines(stage.block)[0].removeprefix("curl "))))


@checks("part", "upload")
def transcripts(stage):
    served(stage, "--upload")
    stage.write("words.txt", "other words\n")
    stage.transcript()
    if stage.block.name == "upload":
        assert (stage.folder / "served/copy.txt").read_text() == "other words\n"


@checks("files.py")
def in_a_program(stage):
    stage.write("site/words.txt", "alpha")
    stage.program()
    answer = stage.curl("-i http://127.0.0.1:8000/words.txt")
    assert "Access-Control-Allow-Origin: *" in answer and "max-age=60" in answer and answer.endswith("alpha")
