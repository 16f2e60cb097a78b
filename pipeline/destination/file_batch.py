"""Whole files of a shard, written and copied many at a time."""

from collections.abc import Sequence

from pipeline.staging.area import Staging
from pipeline.storage import Storage


class FileBatch:
    """Collects whole files and copies of originals, and writes them in batches.

    Before it writes, it records their paths for shard ``index`` in ``staging``, so that the removal of an unfinished
    export knows them; without it nothing is recorded. A dry run has no ``storage``, and nothing is kept or written.
    ``most`` bounds the bytes that are held.
    """

    def __init__(self, storage: Storage | None, staging: Staging | None, index: int, most: int) -> None:
        self._storage = storage
        self._staging = staging
        self._index = index
        self._most = most
        self._files: list[tuple[str, bytes]] = []
        self._copies: list[tuple[str, str]] = []
        self._held = self._intents = 0

    def add(self, path: str, data: bytes) -> None:
        """Write ``data`` to ``path``, now or with the next batch."""
        if self._storage is None:
            return
        self._files.append((path, data))
        self._held += len(data)
        if self._held > self._most:
            self.flush()

    def copy(self, source: str, path: str) -> None:
        """Copy a file of the export to ``path`` with the next batch."""
        if self._storage is not None:
            self._copies.append((source, path))

    def flush(self) -> None:
        """Write everything that was collected."""
        if self._storage is None:
            return
        self.record_intent([*(path for path, _ in self._files), *(path for _, path in self._copies)])
        self._storage.write_many(self._files)
        self._files, self._held = [], 0
        self._storage.copy_many(self._copies)
        self._copies = []

    def record_intent(self, paths: Sequence[str]) -> None:
        """Record that the files at ``paths`` are about to be written."""
        if self._staging and paths:
            self._staging.write_intent(self._index, self._intents, paths)
            self._intents += 1
