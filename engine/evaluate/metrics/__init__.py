"""Metrics of explanations, one a file; close relatives share one."""
