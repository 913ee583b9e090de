"""What is written to the terminal: tables and progress."""
