"""Proof that a fixed height and width of the image may become free ones."""
