"""Commands that show what is in an export: pictures, and differences."""
