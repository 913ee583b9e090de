"""Which part of its input a part of an operator's output reads: one rule per operator, in `table.py`."""
