"""Formats: each turns one numbered sample into bytes, and names the files that are joined from all shards.

A format does no input or output, keeps no state and never sees another sample, so the memory bound, safe writes,
determinism and accounting are written once, outside it. ``docs/own-format.md`` shows one in 20 lines.
"""

from pipeline.formats.options import OptionError
from pipeline.formats.protocol import BaseFormat, Contents, Entry, Format, Loss, Manifest, Section
from pipeline.formats.registry import FORMATS, FormatInfo, list_formats, load_format, load_formats
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.model.catalog import Catalog

__all__ = [
    "FORMATS",
    "KEPT",
    "BaseFormat",
    "Catalog",
    "Contents",
    "Entry",
    "Format",
    "FormatInfo",
    "Kind",
    "Loss",
    "Manifest",
    "OptionError",
    "Section",
    "Support",
    "list_formats",
    "load_format",
    "load_formats",
]
