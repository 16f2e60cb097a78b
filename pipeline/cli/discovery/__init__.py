"""Commands that tell what is there, before any export: lists by name, and the doctor."""
