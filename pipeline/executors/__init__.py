"""How work on shards is run: in this process, or as tasks of a Ray cluster."""
