"""What is written to the terminal: text, tables and progress."""
