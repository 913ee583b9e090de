"""What can be learned of the features of good images, one file a scorer; `registry.py` finds them."""
