"""One shard's records: listed, their documents fetched, turned into samples; each planned record exactly once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec

from pipeline.errors import (
    AccessRefused,
    BackendError,
    ExportError,
    RefusedHost,
    ResponseTooLarge,
    TransientError,
    UrlExpired,
)
from pipeline.images.files import Header
from pipeline.images.remote_header import find_header
from pipeline.model.naming import has_image_suffix
from pipeline.model.shards import Shard, unpack_keys
from pipeline.model.source import ExtractedRecord
from pipeline.reasons import Reason
from pipeline.records import Failure, Record, Sample
from pipeline.synapse.documents.parsing import parse_document
from pipeline.synapse.documents.payloads import checked, compact
from pipeline.synapse.documents.samples import build_samples, with_header
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.http.transport import PAYLOAD, REISSUED
from pipeline.synapse.listing.listing import Batch, Listing
from pipeline.synapse.listing.row_files import FileFinder, files_json, originals_of
from pipeline.synapse.listing.rows import Row
from pipeline.synapse.listing.wrappers import Wrapper, unwrapped, wrapper_of
from pipeline.synapse.split_value import split_value

REISSUES = 3
"""New URLs asked for one object, when the one before has run out."""

_BATCHES = 16
_DOUBTS = 2  # further requests for rows that the API still has, but does not list
_HOPELESS = 5  # failures in a shard, with nothing that worked, after which it is not about single records
_NOTHING = msgspec.Raw(b"null")


class Extractor[T]:
    """Extracts one shard. To be used once.

    ``finish`` makes of each record, as soon as it is there, what is kept of it until the shard is complete.
    """

    def __init__(
        self,
        listing: Listing,
        shard: Shard,
        finish: Callable[[ExtractedRecord], T],
        *,
        needs_payload: bool,
        split_key: str = "record",
    ) -> None:
        self._finish = finish
        self._listing = listing
        self._client = listing.client
        self._shard = shard
        self._needs_payload = needs_payload
        self._split_key = split_key
        self._budget = self._client.document_budget
        self._found: dict[int, T] = {}
        self._rows_at_once = listing.limits.page
        self._pages = _Trouble()
        self._payloads = _Trouble()

    async def run(self) -> list[T]:
        """What ``finish`` made of the record of each key of the shard, in ascending order."""
        gate = asyncio.Semaphore(min(_BATCHES, self._client.requests))

        async def extract(batch: Batch) -> None:
            async with gate:
                await self._extract(batch)

        try:
            await gather(extract(batch) for batch in self._listing.batches(self._shard))
        except _HopelessError as hopeless:
            raise hopeless.args[0] from None
        return [self._found[key] for key in unpack_keys(self._shard.keys).tolist()]

    async def _extract(self, batch: Batch) -> None:
        """All records of a batch; in halves when an answer is too large or does not come."""
        pending = set(batch.keys)
        if batch.rows > self._rows_at_once and (halves := self._listing.smaller(batch, pending)):
            for half in halves:
                await self._extract(half)
            return
        try:
            await self._read(batch, pending)
            if pending:
                # Asked for again before it is believed: an answer may leave out a row that is there.
                await self._read(self._listing.only(batch, pending), pending)
            if pending:
                await self._doubt(batch, pending)
        except TransientError as error:
            if isinstance(error, ResponseTooLarge):
                self._rows_at_once = max(1, batch.rows // 2)
            else:
                await self._listing.probe()
            smaller = self._listing.smaller(batch, pending)
            for part in smaller:
                await self._extract(part)
            if not smaller:
                self._give_up(pending, error)
            return
        for key in pending:
            problem = "it was planned, but the API no longer lists it"
            self._fail(key, Failure(key, Reason.RECORD_VANISHED, problem, outcome="skipped"))

    async def _doubt(self, batch: Batch, pending: set[int]) -> None:
        """Ask for rows again that are not listed but still there; those that do not come fail, and may come later."""
        for attempt in range(1, _DOUBTS + 1):
            there = await self._listing.still_there(self._listing.only(batch, pending))
            if not there:
                return
            await asyncio.sleep(self._client.limits.backoff.wait(attempt))
            missing = set(there)
            await self._read(self._listing.only(batch, there), missing)
            pending -= there - missing
            if not missing:
                return
        problem = "the API still has it, but leaves it out of its list"
        for key in missing:
            self._fail(key, Failure(key, Reason.RECORD_VANISHED, problem, transient=True))
        pending -= missing
        self._pages.failed(TransientError(self._listing.endpoint.path, f"record {min(missing)}: {problem}"))

    async def _read(self, batch: Batch, pending: set[int]) -> None:
        later: list[Coroutine[Any, Any, None]] = []
        async with self._budget.lease() as lease, aclosing(self._listing.pages(batch, pending, lease=lease)) as pages:
            async for rows in pages:
                self._pages.worked |= bool(rows)
                for row in rows:
                    if row.key in pending:
                        pending.discard(row.key)
                        later += self._start(batch, row)
                # What waits below must not hold on to the page.
                del rows[:]
                lease.free()
                if later:
                    waiting, later = later, []
                    await gather(waiting)

    def _start(self, batch: Batch, row: Row) -> list[Coroutine[Any, Any, None]]:
        """Do what can be done with a row at once; what has to be fetched first is returned."""
        if not row.is_of(self._listing.project):
            problem = "the API lists it under a project that it does not belong to"
            self._fail(row.key, Failure(row.key, Reason.RECORD_FOREIGN, problem))
            return []
        if row.problem:
            self._fail(row.key, Failure(row.key, Reason.PAYLOAD_UNAVAILABLE, row.problem, transient=True))
            return []
        wrapper = wrapper_of(row.data)
        if wrapper is not None:
            row.data = _NOTHING
            return [self._fetch_document(batch, row, wrapper)]
        return self._convert(batch, row, bytes(row.data))

    def _convert(self, batch: Batch, row: Row, data: bytes) -> list[Coroutine[Any, Any, None]]:
        key, row.data = row.key, _NOTHING
        originals = originals_of(row, self._listing.target)
        document = parse_document(data)
        category = row.category if isinstance(row.category, str) and row.pgh_id is not None else ""
        samples, failures = build_samples(key, document, [original.file for original in originals])
        if document.kind == "null":
            failures.append(Failure(key, Reason.NULL_DATA_DETECTED, "it was never labelled", outcome="skipped"))
        record = Record(
            key,
            category,
            group=split_value(self._split_key, row, data, originals) if samples else "",
            payload=compact(unwrapped(data)) if samples and self._needs_payload else b"",
            files=files_json(row, self._listing.target) if samples and self._needs_payload else b"",
        )
        extracted = ExtractedRecord(record, tuple(samples), tuple(failures), document.seen, len(data))
        unclear = [sample for sample in samples if _is_unclear(sample)]
        if unclear:
            return [self._look(batch, row, extracted, unclear)]
        self._keep(extracted)
        return []

    async def _fetch_document(self, batch: Batch, row: Row, wrapper: Wrapper) -> None:
        corrupt: list[str] = []
        broken: list[Wrapper] = []

        async def fetch(row: Row, rank: int) -> list[Coroutine[Any, Any, None]]:
            current = wrapper if rank == PAYLOAD else wrapper_of(row.data)
            if current is None:
                return self._convert(batch, row, bytes(row.data))
            row.data = _NOTHING
            if any(current.promises_what(other) for other in broken):
                raise TransientError(f"record {row.key}", corrupt[-1])
            if not current.presigned_url:
                problem = "the API gives neither the document nor an address of it"
                self._fail(row.key, Failure(row.key, Reason.PAYLOAD_UNAVAILABLE, problem))
                return []
            try:
                async with self._budget.lease() as lease:
                    check = checked(current, corrupt)
                    data = await self._client.fetch_payload(current.presigned_url, check, lease, rank=rank)
                    self._payloads.worked = True
                    return self._convert(batch, row, data)
            except (BackendError, ResponseTooLarge) as error:
                refused = isinstance(error, RefusedHost)  # until the configuration names the host
                problem = without_address(error)
                self._fail(row.key, Failure(row.key, Reason.PAYLOAD_UNAVAILABLE, problem, transient=refused))
                return []
            except TransientError as error:
                if not corrupt or isinstance(error, UrlExpired):
                    raise
                # Labelled anew since its row was listed? Then the row says something else by now.
                broken.append(current)
                raise UrlExpired(f"record {row.key}", corrupt[-1]) from error

        try:
            for measuring in await with_fresh_url(self._listing, batch, row, fetch):
                await measuring
        except TransientError as error:
            if corrupt:
                failure = Failure(row.key, Reason.PAYLOAD_CORRUPT, corrupt[-1], transient=True)
            else:
                self._payloads.failed(error)
                failure = Failure(row.key, Reason.PAYLOAD_UNAVAILABLE, without_address(error), transient=True)
            self._fail(row.key, failure)

    async def _look(self, batch: Batch, row: Row, record: ExtractedRecord, unclear: list[Sample]) -> None:
        """Look into the originals of images whose size or format nothing else says."""
        samples, failures = list(record.samples), list(record.failures)
        finder = FileFinder(self._listing.target)
        for sample in unclear:
            try:
                header = await self._header(batch, row, sample, finder)
            except (TransientError, RefusedHost) as error:
                if isinstance(error, RefusedHost) and sample.width:
                    continue  # only the suffix is missing; what copies the original says that the host is refused
                problem = f"its header could not be read: {without_address(error)}"
                failures.append(
                    Failure(row.key, Reason.SOURCE_IMAGE_INVALID, problem, sample.media, transient=True, of="media")
                )
                continue
            if header is not None:
                samples[sample.ordinal], outside = with_header(sample, header)
                failures += outside
        self._keep(msgspec.structs.replace(record, samples=tuple(samples), failures=tuple(failures)))

    async def _header(self, batch: Batch, row: Row, sample: Sample, finder: FileFinder) -> Header | None:
        spec = sample.file.spec if sample.file else ""

        async def look(row: Row, rank: int) -> Header | None:
            original = finder.find(row, spec)
            if original is None or not original.url:
                return None
            url = original.url
            return await find_header(lambda length: self._client.fetch_range(url, length, rank=rank))

        try:
            return await with_fresh_url(self._listing, batch, row, look)
        except (RefusedHost, AccessRefused):
            raise  # nothing is wrong with the image: the configuration has to name the host, or the token is gone
        except BackendError:
            return None  # the formats that need a size say so, and say which image

    def _give_up(self, keys: set[int], error: TransientError) -> None:
        self._pages.failed(error)
        transient = not isinstance(error, ResponseTooLarge)
        for key in keys:
            self._fail(key, Failure(key, Reason.PAYLOAD_UNAVAILABLE, without_address(error), transient=transient))

    def _fail(self, key: int, failure: Failure) -> None:
        self._keep(ExtractedRecord(Record(key), failures=(failure,)))

    def _keep(self, record: ExtractedRecord) -> None:
        self._found[record.record.id] = self._finish(record)


def _is_unclear(sample: Sample) -> bool:
    """Whether the header of the original has to be read: the size is not known, or readers do not know the suffix."""
    if sample.kind != "image" or sample.file is None:
        return False
    return not (sample.width and sample.height and has_image_suffix(sample.file.name))


class _HopelessError(Exception):
    """Carries the error that says that a whole service is down, past everything that deals with single records."""


class _Trouble:
    """Tells failures of single records from a service that is down."""

    def __init__(self) -> None:
        self.worked = False
        self._failures = 0

    def failed(self, error: ExportError) -> None:
        """Raise when several failed, and nothing worked."""
        self._failures += 1
        if not self.worked and self._failures >= _HOPELESS:
            raise _HopelessError(error)


async def with_fresh_url[T](
    listing: Listing, batch: Batch, row: Row, fetch: Callable[[Row, int], Awaitable[T]], fields: str = ""
) -> T:
    """``fetch(row, rank)``, with the row listed again whenever a URL in it has run out.

    Raises TransientError when the last of the new URLs has run out too, or the row is gone; BackendError when the row
    must not be listed any more.
    """
    rank = PAYLOAD
    for _ in range(REISSUES + 1):
        try:
            return await fetch(row, rank)
        except UrlExpired:
            fresh = await listing.row(batch, row.key, fields, rank=REISSUED)
            if fresh is None:
                break
            row, rank = fresh, REISSUED
    raise UrlExpired(f"record {row.key}", f"its URL had run out, and so had {REISSUES} new ones")


def without_address(error: ExportError) -> str:
    """What an error says, without the address it is about."""
    return ": ".join(str(part) for part in error.args[1:] if part) or type(error).__name__
