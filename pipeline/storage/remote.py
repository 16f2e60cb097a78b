"""Storage on object stores, which show a file only when it is whole: one PUT each.

Stores with multipart uploads and file systems that rename have subclasses of their own.
"""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, NoReturn, cast, override

from fsspec.asyn import sync

from pipeline.errors import StorageError, TransientError
from pipeline.model.backoff import Backoff
from pipeline.storage.base import COPY_CHUNK, Extent, Piece, Storage, check_relative
from pipeline.storage.connection import Connection
from pipeline.storage.store_errors import Trouble, explain, trouble_of

AT_ONCE = 48
"""Requests of one process in flight, where the store answers many at once."""

_READERS = 16
_AHEAD_BYTES = 16 * 2**20
_BATCH = 512
_RETRIES = Backoff(attempts=4, first=0.5, jitter=0.5)


class RemoteStorage(Storage):
    """Files below a prefix of an object store.

    A passing error that outlasts the retries becomes a TransientError, and the shard is tried again. Any other
    failure is a StorageError that says what to do. Credentials are renewed, if that is possible, before they expire and
    when they are refused.
    """

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        self._connection = connection
        self._root = connection.root
        self._pool: ThreadPoolExecutor | None = None

    @override
    @property
    def is_shared(self) -> bool:
        return "memory" not in self._connection.protocols

    def _full(self, path: str) -> str:
        return f"{self._root}/{check_relative(path)}"

    # One request, and many of the same kind

    def _call[T](self, path: str, request: Callable[[Any], T]) -> T:
        """Return ``request(filesystem)``, repeated while that may help.

        Raises FileNotFoundError, StorageError or TransientError.
        """
        for attempt in range(1, _RETRIES.attempts + 1):
            filesystem = self._connection.filesystem()
            try:
                return request(filesystem)
            except Exception as error:  # noqa: BLE001  every store raises its own errors; here they become ours
                if not self._prepare_retry(error, attempt, filesystem):
                    self._raise(error, path)
        raise AssertionError  # the last attempt returns or raises

    def _many(
        self, operation: str, items: Iterable[tuple[str, *tuple[Any, ...]]], *, may_be_absent: bool = False
    ) -> Iterator[Any]:
        """Do fsspec's ``operation`` for each item (a path and further arguments), many at once; yield answers in order.

        Only failed requests are repeated. Raises as :meth:`_call` does; with ``may_be_absent`` the answer for a missing
        file is None.
        """
        for group in itertools.batched(items, _BATCH):
            results: list[Any] = [None] * len(group)
            waiting = list(range(len(group)))
            for attempt in range(1, _RETRIES.attempts + 1):
                filesystem = self._connection.filesystem()
                work = self._operation(filesystem, operation)
                requests = [partial(work, *self._arguments(group[n])) for n in waiting]
                failed: dict[int, BaseException] = {}
                for number, outcome in zip(waiting, _gathered(filesystem, requests), strict=True):
                    if not isinstance(outcome, BaseException):
                        results[number] = outcome
                    elif not (may_be_absent and trouble_of(outcome) is Trouble.ABSENT):
                        failed[number] = outcome
                if not failed:
                    break
                for number, error in failed.items():
                    if not self._can_help(error, attempt):
                        self._raise(error, group[number][0])
                self._prepare_retry(next(iter(failed.values())), attempt, filesystem)
                waiting = list(failed)
            yield from results

    def _operation(self, filesystem: Any, name: str) -> Callable[..., Any]:
        """Return the method that fsspec's bulk calls use: a coroutine if the file system is asynchronous."""
        operation: Callable[..., Any] = getattr(filesystem, f"_{name}" if filesystem.async_impl else name)
        return operation

    def _arguments(self, item: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a request: full paths, and anything else unchanged."""
        return tuple(self._full(value) if isinstance(value, str) else value for value in item)

    def _can_help(self, error: BaseException, attempt: int) -> bool:
        trouble = trouble_of(error)
        renewable = trouble is Trouble.DENIED and self._connection.can_renew
        return not _RETRIES.is_last(attempt) and (renewable or trouble in (Trouble.PASSING, Trouble.LOST))

    def _prepare_retry(self, error: BaseException, attempt: int, filesystem: Any) -> bool:
        """Prepare another try: wait, and renew expired credentials. Return whether another try may help."""
        if not self._can_help(error, attempt):
            return False
        trouble = trouble_of(error)
        if trouble is not Trouble.DENIED:
            time.sleep(_RETRIES.wait(attempt))
        if trouble is not Trouble.PASSING:
            self._connection.renew(filesystem)
        return True

    def _raise(self, error: BaseException, path: str) -> NoReturn:
        if isinstance(error, StorageError):
            raise error
        trouble = trouble_of(error)
        where = f"{self.url}/{path}" if path else self.url
        if trouble is Trouble.ABSENT:
            raise FileNotFoundError(where) from error
        if trouble is Trouble.EXISTS:
            raise FileExistsError(where) from error
        kind = TransientError if trouble in (Trouble.PASSING, Trouble.LOST, Trouble.UNREACHABLE) else StorageError
        raise kind(where, explain(error, self.url)) from error

    def _no_bucket(self, where: str) -> StorageError:
        bucket = self.url.partition("://")[2].partition("/")[0]
        return StorageError(where, f"there is no bucket or share {bucket!r}; create it, or correct path")

    # Reading

    @override
    def read(self, path: str) -> bytes:
        full = self._full(path)
        return cast(bytes, self._call(path, lambda fs: fs.cat_file(full)))

    @override
    def read_range(self, path: str, start: int, length: int) -> bytes:
        full = self._full(path)
        return cast(bytes, self._call(path, lambda fs: fs.cat_file(full, start=start, end=start + length)))

    @override
    def find_many(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        return self._many("cat_file", ((path,) for path in paths), may_be_absent=True)

    @override
    def size(self, path: str) -> int | None:
        full = self._full(path)
        try:
            return int(self._call(path, lambda fs: fs.info(full))["size"])
        except FileNotFoundError:
            return None

    @override
    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length is None:
            length = (self.size(path) or 0) - start
        return self.read_pieces([Extent(path, start, length)])

    @override
    def read_pieces(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        """See :meth:`Storage.read_pieces`; the next pieces are read ahead, so that a request's latency is paid once."""
        waiting: deque[tuple[Future[bytes] | bytes, int, str]] = deque()
        held = 0
        try:
            for piece in _split_long(pieces):
                if isinstance(piece, bytes):
                    waiting.append((piece, 0, ""))
                else:
                    future = self._threads().submit(self.read_range, piece.path, piece.start, piece.length)
                    waiting.append((future, piece.length, piece.path))
                    held += piece.length
                while held > _AHEAD_BYTES or len(waiting) > _READERS:
                    held -= waiting[0][1]
                    yield self._arrived(*waiting.popleft())
            while waiting:
                yield self._arrived(*waiting.popleft())
        finally:
            for item, *_ in waiting:
                if isinstance(item, Future):
                    item.cancel()

    def _arrived(self, item: "Future[bytes] | bytes", length: int, path: str) -> bytes:
        if isinstance(item, bytes):
            return item
        data = item.result()
        if len(data) != length:
            raise StorageError(
                f"{self.url}/{path}",
                "is shorter than expected; another process may have changed it, so run the same command again",
            )
        return data

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="storage")
        return self._pool

    @override
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        start = f"{self._root}/{prefix}" if prefix else self._root
        found = self._call(prefix, lambda fs: fs.find(start, detail=True))
        for name, info in found.items():
            yield name.removeprefix(self._root).lstrip("/"), int(info["size"])

    @override
    def entries(self, prefix: str = "") -> list[str]:
        start = self._full(prefix) if prefix else self._root
        try:
            names = self._call(prefix, lambda fs: fs.ls(start, detail=False))
        except FileNotFoundError:
            return []
        return sorted(leaf for name in names if (leaf := name.rstrip("/").rsplit("/", 1)[-1]))

    # Writing

    @override
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        self._write_with(path, lambda fs, full: self._send(fs, full, data))

    def _send(self, filesystem: Any, full: str, data: bytes | BinaryIO) -> None:
        """Write one file from bytes, or from a named file on this machine."""
        if isinstance(data, bytes):
            filesystem.pipe_file(full, data)
        else:
            filesystem.put_file(data.name, full)

    def _write_with(self, path: str, request: Callable[[Any, str], Any]) -> None:
        """Write a file with ``request(filesystem, full path)``; what is "not found" then is the bucket."""
        full = self._full(path)
        try:
            self._call(path, lambda fs: request(fs, full))
        except FileNotFoundError as error:
            raise self._no_bucket(f"{self.url}/{path}") from error

    @override
    def write_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        try:
            _exhaust(self._many("pipe_file", files))
        except FileNotFoundError as error:
            raise self._no_bucket(str(error)) from error

    @override
    def copy_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        _exhaust(self._many("cp_file", pairs))

    @override
    def create_new(self, path: str, data: bytes) -> bool:
        try:
            return self._create_new(path, data)
        except FileNotFoundError as error:
            raise self._no_bucket(f"{self.url}/{path}") from error

    def _create_new(self, path: str, data: bytes) -> bool:
        full = self._full(path)
        try:
            self._call(path, lambda fs: self._create(fs, full, data))
        except FileExistsError:
            # A request that was repeated because its answer was lost also finds its own file.
            return self.find(path) == data
        return True

    def _create(self, filesystem: Any, full: str, data: bytes) -> None:
        """Create a file. Raises FileExistsError if it exists."""
        filesystem.pipe_file(full, data, mode="create")

    @override
    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        # Collected on this machine's disk and not in memory, because it may be a long video.
        with tempfile.NamedTemporaryFile(prefix="synapse-export-") as file:
            yield cast(BinaryIO, file)
            file.flush()
            self._write_with(path, lambda fs, full: self._send(fs, full, cast(BinaryIO, file)))

    @override
    def delete(self, paths: Iterable[str]) -> None:
        _exhaust(self._many("rm_file", ((path,) for path in paths), may_be_absent=True))

    @override
    def delete_tree(self, prefix: str) -> None:
        self.delete([path for path, _ in self.files(prefix)])

    @override
    def sync(self) -> None:
        """A PUT is durable when it returns."""

    @override
    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._connection.close()


def _split_long(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the same bytes in pieces of a few megabytes, without empty ones."""
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                yield piece
            continue
        for start in range(piece.start, piece.start + piece.length, COPY_CHUNK):
            yield Extent(piece.path, start, min(COPY_CHUNK, piece.start + piece.length - start))


def _exhaust(results: Iterator[Any]) -> None:
    deque(results, maxlen=0)


def _gathered(filesystem: Any, requests: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return the answers or errors of all requests, sent at the same time if the file system can do that."""
    if not filesystem.async_impl:
        return [_outcome(request) for request in requests]

    async def all_of_them() -> list[Any]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(request: Callable[[], Awaitable[Any]]) -> Any:
            async with gate:
                return await request()

        return await asyncio.gather(*map(one, requests), return_exceptions=True)

    return cast(list[Any], sync(filesystem.loop, all_of_them))


def _outcome(request: Callable[[], Any]) -> Any:
    try:
        return request()
    except Exception as error:  # noqa: BLE001  the caller knows which errors may be repeated
        return error
