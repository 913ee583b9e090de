"""Detectors: where a model keeps its candidates, what they mean, and the boxes that are left of them."""
