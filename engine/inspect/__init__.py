"""What a model is, found out without changing it."""
