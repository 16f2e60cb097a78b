"""Whole files of a shard, written and copied many at a time."""

from collections.abc import Sequence

from pipeline.staging.area import Staging
from pipeline.storage import Storage


class FileBatch:
    """Collects whole files and copies of originals, and writes them in batches.

    Before it writes, it records their paths for shard ``index`` in ``staging``, so that the removal of an unfinished
    export knows them; without it nothing is recorded. What an earlier attempt recorded with the same catalog, whose
    digest is ``catalog``, and this one does not keep is left over: an original may fail that had been copied. Under
    another catalog a name may be another shard's by now. A dry run has no ``storage``, and nothing is kept or written.
    ``most`` bounds the bytes that are held.
    """

    def __init__(
        self, storage: Storage | None, staging: Staging | None, index: int, most: int, catalog: str = ""
    ) -> None:
        self._storage = storage
        self._staging = staging
        self._index = index
        self._most = most
        self._files: list[tuple[str, bytes]] = []
        self._copies: list[tuple[str, str]] = []
        self._held = self._intents = 0
        self._catalog = catalog
        self._left_over = set(staging.shard_intents(index, catalog)) if staging and storage else set()

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
            # The first one replaces that of the earlier attempt, which may be needed by a later one.
            earlier = sorted(self._left_over.difference(paths)) if not self._intents else []
            self._staging.write_intent(self._index, self._intents, [*paths, *earlier], self._catalog)
            self._intents += 1

    def keep(self, path: str) -> None:
        """Note that the file at ``path`` is one of the export."""
        self._left_over.discard(path)

    def remove_left_over(self) -> None:
        """Remove the files of an earlier attempt that were not kept."""
        if self._storage is not None and self._left_over:
            self._storage.delete(sorted(self._left_over))
            self._left_over = set()
