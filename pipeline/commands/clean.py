"""Remove what runs left behind that will not be continued."""

import uuid

import msgspec

from pipeline.destination.existing import read_success, remove_export
from pipeline.destination.lock import clear_staging, hold_lock, staged_folders
from pipeline.storage import TEMPORARY, Storage


class Cleaned(msgspec.Struct, frozen=True):
    """What was removed: how many files of an unfinished export, whether staged work, how many unfinished uploads.

    ``finished`` says that a finished export is there; it was not touched.
    """

    finished: bool
    files: int
    staging: bool
    uploads: int


def clean(storage: Storage, *, break_lock: bool = False) -> Cleaned:
    """Remove staged work, unfinished uploads and the files of an unfinished export, and nothing else.

    Raises DestinationError when a run may still be at work there, unless ``break_lock`` says that it is dead.
    """
    with hold_lock(storage, f"clean-{uuid.uuid4().hex[:12]}", break_lock=break_lock):
        finished = read_success(storage) is not None
        work = any(folder != TEMPORARY for folder in staged_folders(storage))
        files = remove_export(storage) if work and not finished else 0
        clear_staging(storage)
        return Cleaned(finished, files, work, storage.abort_uploads())
