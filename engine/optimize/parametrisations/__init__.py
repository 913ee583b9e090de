"""Parametrisations, one file each: see `parametrisation.py`."""
