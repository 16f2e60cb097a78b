"""Process a shard one record at a time after its workers keep dying, so that the record that kills them is skipped.

A worker that is killed, for example because it used too much memory, cannot say where it was. So before each record it
writes a note of which one it is at, and the next attempt reads where the one before ended. A record that ended two
careful attempts is not tried a third time: it fails as ``WORKER_LOST``, and the others are exported.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import UNREADABLE_JSON, ExportError
from pipeline.model.shards import Shard, pack_keys, unpack_keys
from pipeline.model.source import Copied, ExtractedRecord
from pipeline.reasons import Reason
from pipeline.records import Failure, NumberedSample, Record
from pipeline.stages.workspace import Workspace
from pipeline.staging.area import Staging

_MOST = 2  # careful attempts that may end at a record; one may have been killed for another process's sake


class _Note(msgspec.Struct):
    """The id of the record that an attempt is at (0: none), and how many earlier attempts ended at which record."""

    at: int = 0
    ended: dict[int, int] = {}


class AttemptLog:
    """The notes of all attempts at one stage of one shard."""

    def __init__(self, staging: Staging, stage: str, index: int) -> None:
        self._storage = staging.storage
        self._path = f"{staging.root}/lost/{stage}-{index:06d}.json"
        self._note = self._read()
        if self._note.at:
            self._note.ended[self._note.at] = self._note.ended.get(self._note.at, 0) + 1
        self._write(0)

    def _read(self) -> _Note:
        with contextlib.suppress(*UNREADABLE_JSON):  # half a note, from a machine that lost power
            if data := self._storage.find(self._path):
                return msgspec.json.decode(data, type=_Note)
        return _Note()

    def _write(self, at: int) -> None:
        self._note.at = at
        self._storage.write(self._path, msgspec.json.encode(self._note))

    def failure(self, key: int, media: str = "") -> Failure | None:
        """The failure of a record at which too many attempts ended, or None. The next run tries it again."""
        if self._note.ended.get(key, 0) < _MOST:
            return None
        problem = "workers that were at it were killed, ran out of memory or took too long"
        return Failure(key, Reason.WORKER_LOST, problem, media, transient=True, of="media" if media else "record")

    @contextlib.contextmanager
    def at(self, key: int) -> Iterator[None]:
        """Note that this attempt is at a record. The note stays if the process dies here or runs out of memory."""
        self._write(key)
        try:
            yield
        except ExportError:
            self._write(0)
            raise

    def close(self) -> None:
        """Note that every record is done."""
        self._write(0)


def extract_one_by_one[T](workspace: Workspace, shard: Shard, finish: Callable[[ExtractedRecord], T]) -> list[T]:
    """Extract like :meth:`pipeline.synapse.source.Source.extract_each`, one record after the other."""
    log = AttemptLog(workspace.staging, "extract", shard.index)
    found: list[T] = []
    for position, key in enumerate(unpack_keys(shard.keys).tolist()):
        if failure := log.failure(key):
            found.append(finish(ExtractedRecord(Record(key), failures=(failure,))))
            continue
        models = pack_keys(unpack_keys(shard.models)[[position]]) if shard.models else b""
        # ``count`` stays that of the shard: the listing from its first cursor is read until the key is found.
        single = msgspec.structs.replace(shard, keys=pack_keys([key]), models=models, cursors=shard.cursors[:1])
        with log.at(key):
            found += workspace.source.extract_each(single, finish, needs_payload=workspace.needs_payload)
    log.close()
    return found


def render_one_by_one(
    samples: Iterable[NumberedSample], writer: ShardWriter, copies: Mapping[str, Copied | Failure], log: AttemptLog
) -> None:
    """Render samples one after the other; the books say which were skipped. ``copies`` are originals by their path."""
    for sample in samples:
        record, copied = sample.sample.record_id, copies.get(sample.original_path)
        if lost := log.failure(record, sample.sample.media):
            writer.add(sample, copied, lost)
            continue
        with log.at(record):
            writer.add(sample, copied)
    log.close()
