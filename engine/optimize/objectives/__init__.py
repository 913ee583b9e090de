"""Objectives, one file each: see `objective.py`."""
