"""Tables: their columns and rows, what of a model is made of which column, and trees as arrays."""
