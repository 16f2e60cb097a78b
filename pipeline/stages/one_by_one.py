"""One record at a time, and on record which: how a shard that workers are lost to is done without the one to blame.

A worker that is killed (for its memory, say) leaves no word. So before each record it writes down which one it is at;
an attempt that finds such a note knows where the one before ended. A record that ended two careful attempts is not
tried a third time: it fails as ``WORKER_LOST``, and its neighbours live.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import ExportError
from pipeline.model.shards import Shard, pack_keys, unpack_keys
from pipeline.model.source import Copied, ExtractedRecord
from pipeline.reasons import Reason
from pipeline.records import Failure, NumberedSample
from pipeline.stages.workspace import Workspace
from pipeline.staging.area import Staging

_MOST = 2  # careful attempts that may end at a record; one may have been anybody's victim


class _Note(msgspec.Struct):
    """Where an attempt is, by record id (0: nowhere), and at which records earlier ones ended how often."""

    at: int = 0
    ended: dict[int, int] = {}


class AttemptLog:
    """The notes of one stage of one shard."""

    def __init__(self, staging: Staging, stage: str, index: int) -> None:
        self._storage = staging.storage
        self._path = f"{staging.root}/lost/{stage}-{index:06d}.json"
        self._note = self._read()
        if self._note.at:
            self._note.ended[self._note.at] = self._note.ended.get(self._note.at, 0) + 1
        self._write(0)

    def _read(self) -> _Note:
        with contextlib.suppress(msgspec.MsgspecError):  # half a note, of a machine that lost power
            if data := self._storage.find(self._path):
                return msgspec.json.decode(data, type=_Note)
        return _Note()

    def _write(self, at: int) -> None:
        self._note.at = at
        self._storage.write(self._path, msgspec.json.encode(self._note))

    def failure(self, key: int, media: str = "") -> Failure | None:
        """The failure of a record that has ended too many attempts. The next run tries it again."""
        if self._note.ended.get(key, 0) < _MOST:
            return None
        problem = "workers that were at it were killed, ran out of memory or took too long"
        return Failure(key, Reason.WORKER_LOST, problem, media, transient=True, of="media" if media else "record")

    @contextlib.contextmanager
    def at(self, key: int) -> Iterator[None]:
        """Work on a record. The note stays when the process ends here or runs out of memory, not after other errors."""
        self._write(key)
        try:
            yield
        except ExportError:
            self._write(0)
            raise

    def close(self) -> None:
        """Every record is through."""
        self._write(0)


def extract_one_by_one[T](workspace: Workspace, shard: Shard, finish: Callable[[ExtractedRecord], T]) -> list[T]:
    """What :meth:`pipeline.synapse.source.Source.extract_each` returns, one record after the other."""
    losses = AttemptLog(workspace.staging, "extract", shard.index)
    found: list[T] = []
    for position, key in enumerate(unpack_keys(shard.keys).tolist()):
        if failure := losses.failure(key):
            found.append(finish(ExtractedRecord(key, (), (failure,), 0, 0)))
            continue
        models = pack_keys(unpack_keys(shard.models)[[position]]) if shard.models else b""
        # The count says how long the listing is that a shard's first cursor begins; it is read until the key is found.
        single = msgspec.structs.replace(shard, keys=pack_keys([key]), models=models, cursors=shard.cursors[:1])
        with losses.at(key):
            found += workspace.source.extract_each(single, finish, needs_payload=workspace.needs_payload)
    losses.close()
    return found


def render_one_by_one(
    samples: Iterable[NumberedSample], writer: ShardWriter, copies: Mapping[str, Copied | Failure], losses: AttemptLog
) -> None:
    """Write samples one after the other; the books say which were left out. ``copies`` are originals by their path."""
    for sample in samples:
        record, copied = sample.sample.record_id, copies.get(sample.original_path)
        if lost := losses.failure(record, sample.sample.media):
            writer.add(sample, copied, lost)
            continue
        with losses.at(record):
            writer.add(sample, copied)
    losses.close()
