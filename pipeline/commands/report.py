"""The report of an export that is there."""

from typing import Any

import msgspec

from pipeline.destination import metadata
from pipeline.destination.existing import read_success
from pipeline.errors import UNREADABLE_JSON, DamagedExportError, DestinationError
from pipeline.report.page import SHOWN, make_page
from pipeline.storage import Storage

_DAMAGED = "is missing or damaged; synapse-export verify says what else is"


def write_report(export: Storage, target: Storage, name: str, language: str = "") -> int:
    """Write the report of a finished export as the file ``name`` of ``target``, and return its size in bytes.

    ``language`` is ``en`` or ``ko``; without it, it is that of the export's configuration. The export stays as it is.
    Raises DestinationError when there is no finished export, and DamagedExportError when its metadata cannot be read.
    """
    if read_success(export) is None:
        raise DestinationError(export.url, f"holds no finished export: there is no {metadata.SUCCESS}")
    where = f"{export.url}/{metadata.SUMMARY}"
    try:
        summary = msgspec.json.decode(export.find(metadata.SUMMARY) or b"", type=dict[str, Any])
    except UNREADABLE_JSON as error:
        raise DamagedExportError(where, _DAMAGED) from error
    if not summary.keys() >= SHOWN or not isinstance(summary["config"], dict):
        raise DamagedExportError(where, _DAMAGED)
    language = language or (summary["config"].get("report") or {}).get("language", "en")
    page = make_page(export, summary, language)
    target.write(name, page)
    return len(page)
