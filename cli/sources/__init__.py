"""Where images come from: one file for each kind of source, `registry.py` lists them."""
