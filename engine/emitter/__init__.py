"""Writing graphs."""
