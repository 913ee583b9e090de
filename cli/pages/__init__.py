"""Pages of HTML: the report and the page that runs a compiled model in a browser."""
