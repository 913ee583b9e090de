"""The kinds of targets, one file each: see `registry.py`."""
