"""Check that a finished export is complete and undamaged, or name what is wrong."""

import csv
import hashlib
from collections.abc import Iterator

from pipeline.destination import metadata
from pipeline.destination.existing import Success, read_success
from pipeline.errors import DamagedExportError, VerificationError
from pipeline.storage import STAGING, Storage, open_storage

_SHOWN = 50


def verify(export: Storage | str, *, full: bool = False) -> Success:
    """Check every listed file of a finished export by size, or with ``full`` by sha256, and return its verdict.

    ``export`` is the storage, path or URL it is at.

    Raises VerificationError whose arguments are one line for each file that is missing, damaged or not listed, or
    one line when there is no finished export at all.
    """
    storage = open_storage(export) if isinstance(export, str) else export
    try:
        success = read_success(storage)
    except DamagedExportError as error:
        raise VerificationError(f"damaged: {error}") from error
    if success is None:
        raise VerificationError(f"{storage.url} holds no finished export: there is no {metadata.SUCCESS}")
    problems = list(_list_problems(storage, success)) or list(_file_problems(storage, full=full))
    if problems:
        hidden = len(problems) - _SHOWN
        raise VerificationError("\n".join(problems[:_SHOWN] + ([f"… and {hidden} more"] if hidden > 0 else [])))
    return success


def _list_problems(storage: Storage, success: Success) -> Iterator[str]:
    for path, expected in (
        (metadata.FILES, success.file_list_sha256),
        (metadata.CHECKSUMS, success.checksums_sha256),
    ):
        if storage.size(path) is None:
            yield f"missing: {path}"
        elif _sha256(storage, path) != expected:
            yield f"damaged: {path} (sha256 differs)"


def _file_problems(storage: Storage, *, full: bool) -> Iterator[str]:
    present = {path: size for path, size in storage.files() if not path.startswith(f"{STAGING}/")}
    for path in (metadata.FILES, metadata.CHECKSUMS, metadata.SUCCESS):
        present.pop(path, None)
    for path, size, sha256 in _listed(storage):
        found = present.pop(path, None)
        if found is None:
            yield f"missing: {path}"
        elif size is not None and found != size:
            yield f"damaged: {path} ({found} bytes instead of {size})"
        elif (full or size is None) and _sha256(storage, path) != sha256:
            yield f"damaged: {path} (sha256 differs)"
    yield from (f"not listed: {path}" for path in sorted(present))


def _listed(storage: Storage) -> Iterator[tuple[str, int | None, str]]:
    """Path, size and sha256 of every file; those with times in them are only in the checksums, without their size."""
    rows = csv.reader(storage.read(metadata.FILES).decode().splitlines()[1:])
    yield from ((path, int(size), sha256) for path, size, sha256 in rows)
    for line in reversed(storage.read(metadata.CHECKSUMS).decode().splitlines()):
        sha256, _, path = line.partition("  ")
        if path not in metadata.VOLATILE:
            return
        yield path, None, sha256


def _sha256(storage: Storage, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in storage.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()
