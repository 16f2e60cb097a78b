"""One original file on its way to storage: counted, hashed, looked at, and put in place whole.

A large file is never whole in memory. A picture that has to be turned upright is the exception: it has to be decoded.
"""

import asyncio
import concurrent.futures
import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, BinaryIO

from pipeline.errors import BackendError, StorageError, TransientError
from pipeline.images.containers import UPRIGHT
from pipeline.images.files import Header, PictureError, complete_header, is_unterminated, read_header
from pipeline.images.orientation import bake_orientation, is_wrong_size
from pipeline.model.source import Copied, Wanted
from pipeline.reasons import Reason
from pipeline.records import Failure
from pipeline.synapse.http.byte_budget import Lease
from pipeline.synapse.limits import SourceLimits
from pipeline.synapse.no_picture import HEADER, START, TAIL, reason_no_picture

_CHECKSUMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""Algorithms by the hexadecimal digits of what they give: the API does not say which one a checksum is of."""
_HEX = re.compile(r"[0-9a-f]+")


class FileSink:
    """One file on its way to storage: small ones are collected and written whole, large ones streamed."""

    def __init__(
        self,
        file: Wanted,
        write: Callable[[str, bytes], None],
        open_stream: Callable[[str], AbstractContextManager[BinaryIO]],
        writers: concurrent.futures.ThreadPoolExecutor,
        lease: Lease,
        limits: SourceLimits,
    ) -> None:
        self._limits = limits
        self.received = 0
        self.etag = ""
        self._file = file
        self._write_whole = write
        self._open_stream = open_stream
        self._writers = writers
        self._lease = lease
        self._announced: int | None = None
        self._parts: list[bytes] = []
        self._held = 0
        self._algorithm = self._checksum = ""
        self.differs = False
        self._digest = hashlib.sha256()
        self._check = self._digest
        self._stream: BinaryIO | None = None
        self._stack = ExitStack()
        self._last: concurrent.futures.Future[Any] | None = None
        self._header: Header | None = None
        self._start = self._end = b""
        self._is_turned_late = False

    def expect(self, checksum: str) -> None:
        """Take the checksum that the API gives, if its algorithm is known."""
        prefix, _, digits = checksum.strip().lower().rpartition(":")
        algorithm = _CHECKSUMS.get(len(digits), "") if _HEX.fullmatch(digits) else ""
        if prefix.replace("-", "") not in ("", algorithm):
            algorithm = ""
        self._algorithm, self._checksum = algorithm, digits

    @property
    def expected(self) -> int | None:
        """The size of the file, as the answer or else the API says it."""
        return self._file.size if self._announced is None else self._announced

    def _check_size(self, size: int) -> None:
        most = self._limits.largest_original
        if size > most:
            raise TooLargeError("", f"the file has more than {most:,} bytes; raise run.largest_original_mb to copy it")

    async def begin(self, size: int | None) -> None:
        """Start over at the first byte: discard what was received before."""
        await self.discard()
        self._announced = size
        if size and self._file.size and size != self._file.size:
            raise OtherSizeError("", self._other_size(size))
        self._check_size(self.expected or 0)
        self.differs = False
        self._digest = hashlib.sha256()
        self._check = self._digest
        if self._algorithm not in ("", "sha256"):
            self._check = hashlib.new(self._algorithm, usedforsecurity=False)
        await self._lease.hold(min(size or self._limits.stream_chunk, self._limits.whole_file))

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; they reach storage a megabyte at a time."""
        self._check_size(self.received)
        if self._file.size and self.received > self._file.size:
            raise OtherSizeError("", self._other_size(self.received))
        self._parts.append(chunk)
        self._held += len(chunk)
        limit = self._limits.stream_chunk if self._stream else self._limits.whole_file
        if self._held > limit or (
            self._held >= self._limits.stream_chunk and (self._announced or 0) > self._limits.whole_file
        ):
            if self._stream is None and not self._start:
                self._look(b"".join(self._parts)[:HEADER])
            if (self._is_turned or self._is_turned_late) and self._held <= self._limits.baked_picture:
                self._lease.grow(self._held)
            else:
                await self._flush()

    async def finish(self) -> Copied | Failure:
        """Put the file in place, or return why it is not what the API promised."""
        size = self.received
        promised = self.expected
        if not size:
            return self.another_file("the file is empty")
        if size != (promised or size) or size != (self._file.size or size):
            return self.another_file(self._other_size(size, promised))
        if self._stream is None:
            data = b"".join(self._parts)
            self._look(data)
            if problem := self._reason_no_picture(data):
                return self.another_file(problem)
            try:
                copied = await self._in_thread(lambda: self._put(data))
            except PictureError as error:
                return copy_failure(self._file, str(error))
            return copied or self.another_file(self._other_digest)
        await self._flush()
        self._header = complete_header(self._header, self._start, self._end, size - len(self._end))
        if problem := self._reason_no_picture(self._end):
            return self.another_file(problem)
        if self._is_another_file():
            return self.another_file(self._other_digest)
        if self._file.bake and self._header is not None and self._header.orientation != UPRIGHT:
            if size > self._limits.baked_picture:
                problem = f"a picture of more than {self._limits.baked_picture:,} bytes is not turned upright"
                return copy_failure(self._file, problem)
            self._is_turned_late = True
            return self.another_file("that the picture is turned stands at its end; it is fetched once more to turn it")
        await self._in_thread(self._stack.close)
        self._stream = None
        return Copied(self._file.path, size, self._digest.hexdigest(), self._header, findings=self._findings())

    def _put(self, data: bytes) -> Copied | None:
        """Write a file that is held whole, turned upright if wanted; return None if it is not the promised file."""
        self._end = data[-TAIL:]
        self._hash(data)
        if self._is_another_file():
            return None
        source = written = self._digest.hexdigest()
        findings = self._findings()
        if Reason.EXIF_BAKED in findings and self._header and self._file.pixels:
            data = bake_orientation(data, self._file.pixels, self._header)
            written = hashlib.sha256(data).hexdigest()
        self._write_whole(self._file.path, data)
        changed = source if source != written else ""
        return Copied(self._file.path, len(data), written, self._header, changed, findings)

    def _hash(self, data: bytes) -> None:
        self._digest.update(data)
        if self._check is not self._digest:
            self._check.update(data)

    def _is_another_file(self) -> bool:
        return bool(self._algorithm) and self._check.hexdigest() != self._checksum

    def another_file(self, problem: str) -> Failure:
        """Return the failure of a file that is not the promised one (for example a login page); a retry starts over."""
        self.differs, self.received, self.etag = True, 0, ""
        return copy_failure(self._file, problem, transient=True)

    @property
    def _other_digest(self) -> str:
        name = self._algorithm.upper().replace("SHA", "SHA-")
        return f"the file is not the one whose {name} the API gives"

    def _other_size(self, size: int, promised: int | None = None) -> str:
        return f"the file has {size:,} bytes, the API says {self._file.size or promised:,}"

    @property
    def _is_turned(self) -> bool:
        """Whether the picture is to be turned upright, by what its first bytes say."""
        return self._file.bake and self._header is not None and self._header.orientation not in (None, UPRIGHT)

    def _reason_no_picture(self, tail: bytes) -> str:
        """Why it is no picture although it should be one: a login page, for example, comes with status 200."""
        if self._file.pixels is None:
            return ""
        return reason_no_picture(self._start, tail, self.received, self._header)

    def _look(self, head: bytes) -> None:
        """Read the header of a picture from its first bytes."""
        if self._file.pixels:
            self._start, self._header = head[:START], read_header(head)

    def _findings(self) -> tuple[Reason, ...]:
        """Return what to report about the picture."""
        if self._header is None or self._file.pixels is None:
            return ()
        found: list[Reason] = []
        if self._header.orientation not in (None, UPRIGHT):
            found.append(Reason.EXIF_BAKED if self._file.bake else Reason.EXIF_ORIENTATION)
        if is_wrong_size(self._file.pixels, self._header):
            found.append(Reason.SIZE_CORRECTED)
        if is_unterminated(self._start, self._end) and Reason.EXIF_BAKED not in found:
            found.append(Reason.IMAGE_UNTERMINATED)
        return tuple(found)

    async def discard(self) -> None:
        """Discard everything that is not in place; nothing of it appears in the storage."""
        self._parts, self._held = [], 0
        self._header, self._start, self._end = None, b"", b""
        if self._stream is None:
            return
        self._stream = None
        if self._last is not None:
            concurrent.futures.wait([self._last])
        await self._in_thread(self._abandon)

    def _abandon(self) -> None:
        # An exception in the stream's block makes it end without publishing the file.
        error = _Discarded()
        try:
            self._stack.__exit__(_Discarded, error, None)
        except _Discarded:
            return

    async def _flush(self) -> None:
        parts, self._parts, self._held = self._parts, [], 0
        if parts:
            self._end = b"".join([self._end, *parts])[-TAIL:]

        def append() -> None:
            if self._stream is None:
                self._stream = self._stack.enter_context(self._open_stream(self._file.path))
            for part in parts:
                self._hash(part)
                self._stream.write(part)

        await self._in_thread(append)

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except TransientError as error:
                raise StorageTroubleError(error) from error
            except OSError as error:
                # It does not come from the network, so the download must not be tried again.
                raise StorageError(self._file.path, error.strerror or type(error).__name__) from error

        future = self._last = self._writers.submit(guarded)
        return await asyncio.wrap_future(future)


class OtherSizeError(BackendError):
    """A file that has another size than the one the API gives."""


class TooLargeError(BackendError):
    """A file that is larger than the configuration allows, which may be changed."""


class StorageTroubleError(Exception):
    """Carries a passing error of the destination past the code that would blame the file: the shard is retried."""


class _Discarded(Exception):
    """Ends a storage stream that must not be published."""


def copy_failure(file: Wanted, problem: str, *, transient: bool = False) -> Failure:
    """Return the failure of a file that could not be copied; ``transient`` if a later retry may succeed."""
    return Failure(
        file.record_id,
        Reason.IMAGE_MATERIALIZATION_FAILED,
        problem,
        media=file.spec,
        transient=transient,
        of="original",
    )
