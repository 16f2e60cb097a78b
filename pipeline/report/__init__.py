"""An export as people look at it: the page ``metadata/report.html`` and the card ``README.md``."""
