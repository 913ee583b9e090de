"""Kernels on arrays: NumPy and Numba only."""
