"""``synapse-export status``: how far a run is, seen from anywhere that can read its path."""
