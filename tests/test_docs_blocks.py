"""Each block of code in README.md, CONTRIBUTING.md and docs/ does what the page says of it.

A block's check is a function of docs/page_*.py, by its name, or what docs/checks.py knows of its lines. A block that
nobody checks is a failure, as is a check whose block has gone.
"""
import importlib
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = sorted(name.removesuffix(".py") for name in os.listdir(os.path.join(HERE, "docs")) if name.startswith("page_"))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from docs import blocks, checks, stage  # noqa: E402

for _name in MODULES:
    importlib.import_module(f"docs.{_name}")

BLOCKS = [block for page in blocks.pages() for block in blocks.blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_block(block, tmp_path):
    check = checks.check_of(block)
    assert check, f"{block.page}, line {block.line}: nobody checks this block"
    with stage.Stage(tmp_path, block) as there:
        check(there)


def test_every_check_has_its_block():
    assert checks.without_block() == []


def test_names_are_unique():
    names = [(block.page, block.name) for block in BLOCKS if block.name]
    assert len(names) == len(set(names))
