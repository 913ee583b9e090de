"""Texts: tokenizers, words, and what the inputs of a model are fed for them."""
