"""What is at the destination already, and what ``on_existing`` makes of it.

A finished export has ``_SUCCESS.json``, an unfinished one a plan below ``_staging/``; anything else is not ours.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

import msgspec

from pipeline.destination import metadata
from pipeline.destination.lock import clear_staging
from pipeline.errors import UNREADABLE_JSON, DamagedExportError, DestinationError, StorageError, TransientError
from pipeline.model.ledger import Ledger
from pipeline.staging.area import Staging
from pipeline.staging.markers import Identity
from pipeline.storage import STAGING, Storage

_LISTS = (metadata.FILES, metadata.CHECKSUMS, metadata.SUMMARY, metadata.REPORT)
"""Removed last, because what is left of an export is known by them."""

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


_DAMAGED = (
    "is damaged; run the configuration with on_existing: overwrite, which removes the files that the lists of this "
    "export name, and exports anew"
)
"""The one way out, whatever command meets it."""


class State(Enum):
    """What a run has to do."""

    START = "start"
    RESUME = "resume"
    REPLACE = "replace"
    FINISHED = "finished"


class Content(Enum):
    """What is at the destination. *Ours* is the export that the configuration describes."""

    NOTHING = "nothing"
    UNKNOWN_FILES = "files that no export wrote"
    VERDICT_DAMAGED = "an export whose verdict is damaged"
    HALF_REMOVED = "what is left of an export that was being removed"
    OUR_PLAN_DAMAGED = "our unfinished export, whose plan is damaged"
    A_PLAN_DAMAGED = "an unfinished export whose plan is damaged"
    OURS_FINISHED = "our finished export"
    ANOTHER_FINISHED = "another finished export"
    OURS_UNFINISHED = "our unfinished export"
    ANOTHER_UNFINISHED = "another unfinished export"
    OLDER_UNFINISHED = "our unfinished export, begun by another version of this package"


def _row(resume: State | None, fail: State | None, overwrite: State | None) -> Mapping[str, State | None]:
    return {"resume": resume, "fail": fail, "overwrite": overwrite}


DECISIONS: Mapping[Content, Mapping[str, State | None]] = {
    # what is there             on_existing: resume           fail                  overwrite; None refuses
    Content.NOTHING:            _row(State.START,    State.START, State.START),
    Content.UNKNOWN_FILES:      _row(None,           None,        None),
    Content.HALF_REMOVED:       _row(None,           None,        State.REPLACE),
    # Nobody knows which export it is, but its lists say which files it has.
    Content.VERDICT_DAMAGED:    _row(None,           None,        State.REPLACE),
    # It cannot be continued without its plan, only made again.
    Content.OUR_PLAN_DAMAGED:   _row(State.REPLACE,  None,        State.REPLACE),
    Content.A_PLAN_DAMAGED:     _row(None,           None,        State.REPLACE),
    Content.OURS_FINISHED:      _row(State.FINISHED, None,        State.REPLACE),
    Content.ANOTHER_FINISHED:   _row(None,           None,        State.REPLACE),
    Content.OURS_UNFINISHED:    _row(State.RESUME,   None,        State.REPLACE),
    Content.ANOTHER_UNFINISHED: _row(None,           None,        State.REPLACE),
    # It starts anew, and nothing of the old one may stay.
    Content.OLDER_UNFINISHED:   _row(State.REPLACE,  None,        State.REPLACE),
}  # fmt: skip


def read_success(storage: Storage) -> Success | None:
    """Return ``_SUCCESS.json``, or None without one.

    Raises DamagedExportError when it cannot be read, or DestinationError when it is not even beside lists of an export.
    """
    data = storage.find(metadata.SUCCESS)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Success)
    except UNREADABLE_JSON as error:
        where = f"{storage.url}/{metadata.SUCCESS}"
        if storage.size(metadata.FILES) is None:
            raise DestinationError(
                where, f"is not readable, and there is no {metadata.FILES}; use another path"
            ) from error
        raise DamagedExportError(where, _DAMAGED) from error


def examine(storage: Storage, export: Identity, on_existing: str) -> State:
    """Decide what to do about what is there; removes nothing and writes nothing.

    Raises DestinationError when ``on_existing`` forbids going on, naming what differs, or when nothing can be read.
    """
    try:
        content, theirs = find_content(storage, export)
        decision = DECISIONS[content][on_existing]
        if decision is None:
            raise _refusal(storage, content, theirs, export, on_existing)
    except (StorageError, TransientError) as error:
        raise DestinationError(*error.args) from error
    return decision


def find_content(storage: Storage, export: Identity) -> tuple[Content, Identity | None]:
    """Return what is at the destination of ``export``, and the identity of another export that is there."""
    try:
        success = read_success(storage)
    except DamagedExportError:
        return Content.VERDICT_DAMAGED, None
    if success:
        same = success.export.key == export.key
        return (Content.OURS_FINISHED, None) if same else (Content.ANOTHER_FINISHED, success.export)
    plans = dict(_plans(storage, export.key))
    if export.key in plans:
        return Content.OURS_UNFINISHED, None
    for theirs in plans.values():
        if theirs.values != export.values or theirs.origin != export.origin:
            return Content.ANOTHER_UNFINISHED, theirs
    if plans:
        return Content.OLDER_UNFINISHED, None
    if not _entries(storage):
        return Content.NOTHING, None
    folders = [entry for entry in storage.entries(STAGING) if _KEY.fullmatch(entry)]
    if folders:
        return (Content.OUR_PLAN_DAMAGED if folders == [export.key] else Content.A_PLAN_DAMAGED), None
    if storage.size(metadata.FILES) is not None:
        return Content.HALF_REMOVED, None
    return Content.UNKNOWN_FILES, None


def _entries(storage: Storage) -> list[str]:
    return [entry for entry in storage.entries() if entry != STAGING]


def _refusal(
    storage: Storage, content: Content, theirs: Identity | None, export: Identity, on_existing: str
) -> DestinationError:
    """Return the error that says why ``content`` stops this run, and what to do."""
    match content:
        case Content.UNKNOWN_FILES:
            entries = _entries(storage)
            names = ", ".join(entries[:3]) + (", …" if len(entries) > 3 else "")
            problem = f"holds files that no export wrote ({names}); use an empty path"
        case Content.HALF_REMOVED:
            problem = "holds what is left of an export that was being removed; on_existing: overwrite goes on with that"
        case Content.VERDICT_DAMAGED:
            return DamagedExportError(f"{storage.url}/{metadata.SUCCESS}", _DAMAGED)
        case Content.OUR_PLAN_DAMAGED | Content.A_PLAN_DAMAGED:
            problem = "holds an unfinished export whose plan is damaged; use another path or on_existing: overwrite"
        case Content.ANOTHER_FINISHED | Content.ANOTHER_UNFINISHED if theirs and on_existing != "fail":
            what = "a finished export" if content is Content.ANOTHER_FINISHED else "an unfinished export"
            return difference_error(storage, what, theirs, export)
        case _:
            problem = "holds an export already and on_existing is 'fail'; use another path, or resume or overwrite"
    return DestinationError(storage.url, problem)


def difference_error(storage: Storage, what: str, theirs: Identity, ours: Identity) -> DestinationError:
    """Return the error that names what differs between the export that is there and ours."""
    names = sorted(theirs.values.keys() | ours.values.keys())
    different = [name for name in names if theirs.values.get(name) != ours.values.get(name)]
    if theirs.origin != ours.origin:
        different.append(f"the API host ({theirs.origin})")
    if theirs.version != ours.version:
        different.append(f"the version of this package ({theirs.version})")
    return DestinationError(
        storage.url, f"holds {what} that differs in: {', '.join(different)}; use another path or on_existing: overwrite"
    )


def _plans(storage: Storage, own: str) -> Iterator[tuple[str, Identity]]:
    """Keys and identities of unfinished exports; our ``own`` is asked for by name, for listings may lag behind."""
    for key in dict.fromkeys((own, *storage.entries(STAGING))):
        plan = Staging(storage, key).read_plan()
        if plan:
            yield key, plan.export


def remove_export(storage: Storage) -> int:
    """Remove what is left of an earlier export: exactly the files its own lists name, never a whole folder.

    ``_SUCCESS.json`` goes first, so that no reader takes the rest for a complete export. Returns how many files
    were listed; the staging area goes too, but for locks.
    """
    removed = 0

    def counted(paths: Iterable[str]) -> Iterator[str]:
        nonlocal removed
        for path in paths:
            removed += 1
            yield path

    storage.delete([metadata.SUCCESS])
    storage.delete(counted(_removable(storage)))
    for key in storage.entries(STAGING):
        storage.delete(counted(Staging(storage, key).intents()))
    storage.delete(_LISTS)
    clear_staging(storage)
    return removed


def listed_paths(storage: Storage) -> Iterator[str]:
    """Return the paths of ``files.csv`` one by one. Raises DamagedExportError at a line that is damaged."""
    for listed in metadata.listed_files(storage.chunks(metadata.FILES)):
        if listed.path is None:
            raise DamagedExportError(f"{storage.url}/{metadata.FILES}:{listed.line}", _DAMAGED)
        yield listed.path


def check_file_list(storage: Storage, success: Success) -> None:
    """Raise DamagedExportError when ``files.csv`` is not the one that was published, so that it cannot be relied on."""
    digest = hashlib.sha256()
    for chunk in _chunks(storage, metadata.FILES):
        digest.update(chunk)
    if digest.hexdigest() != success.file_list_sha256:
        raise DamagedExportError(f"{storage.url}/{metadata.FILES}", _DAMAGED)


def _removable(storage: Storage) -> Iterator[str]:
    """Return the paths that the lists of an export name; those of the lists themselves are left for the end.

    Both lists name the same files, so the second one is needed only where lines of the first are damaged or gone.
    """
    damaged, found = False, 0
    for listed in metadata.listed_files(_chunks(storage, metadata.FILES)):
        if listed.path is None:
            damaged = True
        elif listed.path not in _LISTS:
            found += 1
            yield listed.path
    checked = sum(1 for _ in _checked(storage))
    if damaged or checked > found:
        yield from _checked(storage)


def _checked(storage: Storage) -> Iterator[str]:
    return (path for path in metadata.checked_paths(_chunks(storage, metadata.CHECKSUMS)) if path not in _LISTS)


def _chunks(storage: Storage, path: str) -> Iterator[bytes]:
    return iter(()) if storage.size(path) is None else storage.chunks(path)
