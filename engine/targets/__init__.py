"""Which scalar is explained."""
