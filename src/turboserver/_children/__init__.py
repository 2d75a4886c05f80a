"""What the children of a program run by `turboserver run` find on their PYTHONPATH (cli.py)."""
