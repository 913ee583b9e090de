"""Series: numbers over time, in the order that a model takes them."""
