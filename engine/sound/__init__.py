"""Sounds: what is given, how a model hears it (rate, frames, states), and the plane of time and frequency."""
