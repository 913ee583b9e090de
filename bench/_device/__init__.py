"""What `bench/device.py` runs: one file per question, and what they share."""
