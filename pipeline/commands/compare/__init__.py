"""Compare two exports, or an export and what the API has now, record by record."""

from pipeline.commands.compare.difference import Change, Difference, compare
from pipeline.commands.compare.exported import open_export
from pipeline.commands.compare.live import open_live

__all__ = ["Change", "Difference", "compare", "open_export", "open_live"]
