"""How good an explanation is, in numbers: one file per family of measures."""
