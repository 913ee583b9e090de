"""Running a model on any number of samples."""
