"""Tests that can fail: the code is broken on purpose, one place at a time. `python -m mutants --help`."""
