"""Commands that show an export to people."""
