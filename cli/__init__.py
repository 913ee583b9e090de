"""The command line: Click commands, pictures, pages; the only floor that reads and writes images."""
