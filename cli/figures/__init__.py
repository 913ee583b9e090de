"""Data in, pixels out: pictures, charts and the parts of pages."""
