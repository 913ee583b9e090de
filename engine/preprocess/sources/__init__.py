"""What other tools write about preprocessing, a file per tool."""
