"""Distributed export of Synapse annotation data."""

# Here and not only in pyproject.toml: a job brings this folder along and runs it without installing anything.
__version__ = "0.1.0"
