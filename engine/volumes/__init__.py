"""Volumes: what is given, with its place in space, and how it becomes the input of a model and heat comes back."""
