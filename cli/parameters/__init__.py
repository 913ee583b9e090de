"""Options that commands share, the options of methods, MODEL and IMAGES."""
