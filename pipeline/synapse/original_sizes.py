"""Sizes of original files: each is asked for and hung up on after the headers, because a signed URL allows GET only."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress

from pipeline.errors import BackendError, RefusedHost, TransientError
from pipeline.model.shards import Shard
from pipeline.model.source import Wanted
from pipeline.records import Failure
from pipeline.synapse.extractor import with_fresh_url, without_address
from pipeline.synapse.file_sink import copy_failure
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.listing.listing import Batch, Listing
from pipeline.synapse.listing.row_files import FileFinder
from pipeline.synapse.listing.rows import Row

MOST_SECONDS = 20.0
"""How long all sizes may take together: an estimate is not worth waiting for."""


class OriginalSizes:
    """Measures files of one shard. Use an instance once."""

    def __init__(self, listing: Listing, shard: Shard) -> None:
        self._listing = listing
        self._shard = shard
        self._found: dict[str, int | Failure] = {}

    async def run(self, wanted: Sequence[Wanted]) -> dict[str, int | Failure]:
        """Return the bytes of each file, by its path, or why it cannot be had; a file of which neither is known is
        left out.
        """
        by_record: dict[int, list[Wanted]] = {}
        for file in wanted:
            by_record.setdefault(file.record_id, []).append(file)
        batches = self._listing.batches(self._shard, by_record)
        with suppress(TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                await gather(self._measure_batch(batch, by_record) for batch in batches)
        return self._found

    async def _measure_batch(self, batch: Batch, by_record: dict[int, list[Wanted]]) -> None:
        pending = set(batch.keys)
        async with aclosing(self._listing.pages(batch, pending, self._listing.endpoint.file_fields)) as pages:
            async for rows in pages:
                taken = {row.key: row for row in rows}
                pending -= taken.keys()
                await gather(
                    self._measure(batch, row, file, finder)
                    for row in taken.values()
                    for finder in [FileFinder(self._listing.target)]
                    for file in by_record[row.key]
                )

    async def _measure(self, batch: Batch, row: Row, file: Wanted, finder: FileFinder) -> None:
        async def ask(row: Row, rank: int) -> int | Failure | None:
            original = finder.find(row, file.spec)
            if original is None or not original.url:
                return copy_failure(file, "the API gives no URL of the file")
            try:
                await self._listing.client.fetch_original(original.url, _HeadersOnly(), rank=rank)
            except _SizeToldError as told:
                return told.size
            except BackendError as error:
                return copy_failure(file, without_address(error), transient=isinstance(error, RefusedHost))
            return None

        try:
            size = await with_fresh_url(self._listing, batch, row, ask, self._listing.endpoint.file_fields)
        except TransientError:
            return  # it may pass: a run would try for longer
        if size is not None:
            self._found[file.path] = size


class _SizeToldError(BackendError):
    """Ends a download whose headers have come."""

    def __init__(self, size: int | None) -> None:
        super().__init__("", "only the size was asked for")
        self.size = size


class _HeadersOnly:
    """Takes no byte of a file."""

    def __init__(self) -> None:
        self.received = 0
        self.etag = ""

    @property
    def expected(self) -> int | None:
        """The bytes of the file, if anybody says."""
        return None

    async def begin(self, size: int | None) -> None:
        """End the download."""
        raise _SizeToldError(size)

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes, of which there are none."""
