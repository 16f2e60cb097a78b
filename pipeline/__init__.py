"""Distributed export of Synapse annotation data."""
