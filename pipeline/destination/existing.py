"""What is at the destination already, and what ``on_existing`` makes of it.

A finished export has ``_SUCCESS.json``, an unfinished one a plan below ``_staging/``; anything else is not ours.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NoReturn

import msgspec

from pipeline.destination import metadata
from pipeline.destination.lock import clear_staging
from pipeline.errors import DestinationError, StorageError, TransientError
from pipeline.model.ledger import Ledger
from pipeline.staging.area import Identity, Staging
from pipeline.storage import STAGING, Storage

_KEY = re.compile(r"[0-9a-f]{16}")  # of an export: the name of its folder below _staging/


class Success(msgspec.Struct, frozen=True):
    """``_SUCCESS.json``: written last, so an export is complete when, and only when, this is there.

    ``export`` says what was exported, ``fingerprint`` also covers which records; ``content`` is the digest of every
    line of ``SHA256SUMS`` that is the same for the same data and configuration.
    """

    run_id: str
    finished: str
    export: Identity
    fingerprint: str
    content: str
    files: int
    checksums_sha256: str
    file_list_sha256: str
    ledger: Ledger


class State(Enum):
    """What a run has to do."""

    START = "start"
    RESUME = "resume"
    REPLACE = "replace"
    FINISHED = "finished"


def read_success(storage: Storage) -> Success | None:
    """The verdict of a finished export, or None. Raises DestinationError when it cannot be read."""
    data = storage.find(metadata.SUCCESS)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Success)
    except msgspec.MsgspecError as error:
        raise DestinationError(f"{storage.url}/{metadata.SUCCESS}", f"is not readable: {error}") from error


def examine(storage: Storage, export: Identity, on_existing: str) -> State:
    """What to do about what is there; removes nothing and writes nothing.

    Raises DestinationError when ``on_existing`` forbids going on, naming what differs, or when nothing can be read.
    """
    try:
        return _examine(storage, export, on_existing)
    except (StorageError, TransientError) as error:
        raise DestinationError(*error.args) from error


def _examine(storage: Storage, export: Identity, on_existing: str) -> State:
    success = read_success(storage)
    plans = list(_plans(storage, export.key))
    entries = [entry for entry in storage.entries() if entry != STAGING]
    folders = [entry for entry in storage.entries(STAGING) if _KEY.fullmatch(entry)]
    if entries and folders and not success and not plans:
        if on_existing == "overwrite" or (on_existing == "resume" and folders == [export.key]):
            return State.REPLACE  # what is there cannot be continued without its plan, only made again
        raise DestinationError(
            storage.url, "holds an unfinished export whose plan is damaged; use another path or on_existing: overwrite"
        )
    if entries and not success and not plans and storage.size(metadata.FILES) is not None:
        if on_existing == "overwrite":
            return State.REPLACE  # a run that replaced an export was stopped while it removed that
        raise DestinationError(
            storage.url,
            "holds what is left of an export that was being removed; on_existing: overwrite goes on with that",
        )
    if entries and not success and not plans:
        names = ", ".join(entries[:3]) + (", …" if len(entries) > 3 else "")
        raise DestinationError(storage.url, f"holds files that no export wrote ({names}); use an empty path")
    if on_existing == "fail" and (success or plans):
        raise DestinationError(storage.url, "holds an export already and on_existing is 'fail'")
    if on_existing == "overwrite":
        return State.REPLACE if success or plans else State.START
    if success:
        if success.export.key != export.key:
            refuse(storage, "a finished export", success.export, export)
        return State.FINISHED
    if any(key == export.key for key, _ in plans):
        return State.RESUME
    for _, theirs in plans:
        if theirs.values != export.values or theirs.origin != export.origin:
            refuse(storage, "an unfinished export", theirs, export)
    # The same export by another version of this package: it starts anew, and nothing of the old one may stay.
    return State.REPLACE if plans else State.START


def refuse(storage: Storage, what: str, theirs: Identity, ours: Identity) -> NoReturn:
    """Raise DestinationError naming what differs between the export that is there and ours."""
    names = sorted(theirs.values.keys() | ours.values.keys())
    differing = [name for name in names if theirs.values.get(name) != ours.values.get(name)]
    if theirs.origin != ours.origin:
        differing.append(f"the API host ({theirs.origin})")
    if theirs.version != ours.version:
        differing.append(f"the version of this package ({theirs.version})")
    raise DestinationError(
        storage.url, f"holds {what} that differs in: {', '.join(differing)}; use another path or on_existing: overwrite"
    )


def _plans(storage: Storage, own: str) -> Iterator[tuple[str, Identity]]:
    """Keys and identities of unfinished exports; our ``own`` is asked for by name, for listings may lag behind."""
    for key in dict.fromkeys((own, *storage.entries(STAGING))):
        plan = Staging(storage, key).read_plan()
        if plan:
            yield key, plan.export


def remove_export(storage: Storage) -> int:
    """Remove what is left of an earlier export: exactly the files its own lists name, never a whole folder.

    ``_SUCCESS.json`` goes first, so that no reader takes what is left for a complete export. Returns how many files
    were listed; the staging area goes too, but for locks.
    """
    removed = 0

    def counted(paths: Iterable[str]) -> Iterator[str]:
        nonlocal removed
        for path in paths:
            removed += 1
            yield path

    storage.delete([metadata.SUCCESS])
    if storage.size(metadata.FILES) is not None:
        storage.delete(counted(listed(storage)))
    for key in storage.entries(STAGING):
        storage.delete(counted(Staging(storage, key).intents()))
    storage.delete([metadata.FILES, metadata.CHECKSUMS, metadata.SUMMARY])
    clear_staging(storage)
    return removed


def listed(storage: Storage) -> Iterator[str]:
    """Paths of ``files.csv``, without holding them all."""
    rows = csv.reader(_lines(storage.chunks(metadata.FILES)))
    next(rows, None)
    return (row[0] for row in rows if row)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)
    if rest:
        yield rest.decode()
