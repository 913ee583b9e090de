"""Regularisers, one file for relatives: see `regulariser.py`."""
