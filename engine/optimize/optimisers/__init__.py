"""Optimisers, one file for relatives: see `optimiser.py`."""
