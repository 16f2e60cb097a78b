"""The value of ``split.key``: what a record's row or document has in common with the records it belongs to."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.errors import UNREADABLE_JSON
from pipeline.model.splits import key_text
from pipeline.synapse.documents.json_fields import read_fields
from pipeline.synapse.listing.row_files import FetchableFile, is_url
from pipeline.synapse.listing.rows import Row
from pipeline.synapse.listing.wrappers import unwrapped


def split_value(key: str, row: Row, document: bytes, originals: Sequence[FetchableFile]) -> str:
    """The value as text, or ``""`` when the record has none; ``document`` is one that was read without trouble.

    ``data_unit`` is the data unit's id, which a row holds as a number or in an object; ``data_unit.<path>`` leads into
    that object and ``document.<path>`` into the document; ``file_name`` is the original name of the primary file.
    """
    if key == "record":
        return ""
    if key == "file_name":
        return next((key_text(original.file.name) for original in originals if original.file.primary), "")
    start, *path = key.split(".")
    if start == "document":
        value = _find_undecoded(document, path)
    elif path or isinstance(row.data_unit, dict):
        value = _find(row.data_unit, path or ["id"])
    else:
        value = row.data_unit
    return "" if is_url(value) else key_text(value)


def _find(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _find_undecoded(document: bytes, path: Sequence[str]) -> Any:
    """A value deep in a document of many megabytes, of which nothing else becomes an object."""
    value: bytes | msgspec.Raw = unwrapped(document)
    for name in path:
        fields = read_fields(value)
        if fields is None or name not in fields:
            return None
        value = fields[name]
    try:
        return msgspec.json.decode(value)
    except UNREADABLE_JSON:
        return None
