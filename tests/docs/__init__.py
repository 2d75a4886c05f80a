"""The documents under test: their blocks (blocks.py), what checks these (checks.py, page_*.py), where they run (stage.py)."""
