"""A model file as a Model: read, checked, rewritten, cut, saved."""
