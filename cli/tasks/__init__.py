"""What commands do, without Click: the work on one image, the sections of the report."""
