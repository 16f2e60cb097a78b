"""The ``nasty`` profile: every known malformation, one per record, between clean records.

Records with an even number are clean, except that every other one has a damaged file, so each malformed document has
clean neighbours. With ``kinds`` given, odd numbers take those in turn and even numbers are clean.
"""

import random
from collections.abc import Sequence

from pipeline.errors import ConfigError
from pipeline.sandbox.nasty_documents import DOCUMENT_TWISTS
from pipeline.sandbox.nasty_files import FILE_TWISTS
from pipeline.sandbox.nasty_geometry import GEOMETRY_TWISTS
from pipeline.sandbox.nasty_payloads import PAYLOAD_TWISTS
from pipeline.sandbox.records import Record, Twist, tidy_record

_DOCUMENTS: dict[str, Twist] = {**DOCUMENT_TWISTS, **GEOMETRY_TWISTS, **PAYLOAD_TWISTS}
_TWISTS: dict[str, Twist] = {**_DOCUMENTS, **FILE_TWISTS}
NASTY_KINDS: tuple[str, ...] = tuple(_TWISTS)
EVERY_KIND_RECORDS = max(2 * len(_DOCUMENTS), 4 * len(FILE_TWISTS))
"""With at least this many records every malformation occurs."""


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise :class:`~pipeline.errors.ConfigError` for a malformation that does not exist."""
    unknown = sorted(set(kinds) - set(NASTY_KINDS))
    if unknown:
        raise ConfigError(f"nasty kinds {', '.join(unknown)}", f"use some of {', '.join(NASTY_KINDS)}")


def nasty_record(
    rng: random.Random, index: int, number: int, assignment_id: int, size: tuple[int, int], kinds: Sequence[str]
) -> Record:
    """Return the record at row ``index``; ``number`` counts the project's own records from 0."""
    kind = _kind(number, kinds)
    record = tidy_record(rng, index, assignment_id, size, busy=bool(kind))
    if kind:
        record.kind = kind
        _TWISTS[kind](record, rng)
    return record


def _kind(number: int, kinds: Sequence[str]) -> str:
    if number % 2:
        choices = tuple(kinds) or tuple(_DOCUMENTS)
        return choices[number // 2 % len(choices)]
    if number % 4 == 2 and not kinds:
        choices = tuple(FILE_TWISTS)
        return choices[number // 4 % len(choices)]
    return ""
