"""Ways in which detectors answer, one file each; found by themselves."""
