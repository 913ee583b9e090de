"""Transforms, one file for relatives: see `transform.py`."""
