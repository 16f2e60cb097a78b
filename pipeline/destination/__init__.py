"""What is at the destination of an export: what is there already, who holds it, and what a shard writes."""
