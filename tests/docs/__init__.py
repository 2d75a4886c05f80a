"""The documents under test: their blocks (blocks.py), what checks these (checks.py, page_*.py), where they run (stage.py)."""
import os

import pytest

pytest.register_assert_rewrite(*(
    f"{__name__}.{name[:-3]}" for name in os.listdir(os.path.dirname(os.path.abspath(__file__)))
    if name.endswith(".py") and name != "__init__.py"))
