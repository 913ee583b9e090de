"""How unlike the good images of a memory an image is, and where: features of middle layers, scorers, calibration."""
