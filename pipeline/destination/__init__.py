"""The destination of an export: what is there already, which run holds it, and what a shard writes."""
