"""Copy the original files of a shard: list fresh URLs, fetch each file, and report the outcome."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import BinaryIO

from pipeline.errors import BackendError, RefusedHost, TransientError
from pipeline.model.shards import Shard
from pipeline.model.source import Copied, Wanted
from pipeline.records import Failure
from pipeline.synapse.extractor import with_fresh_url, without_address
from pipeline.synapse.file_sink import FileSink, OtherSizeError, StorageTroubleError, TooLargeError, copy_failure
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.listing.listing import Batch, Listing
from pipeline.synapse.listing.row_files import FileFinder
from pipeline.synapse.listing.rows import Row

_FETCHES = 2  # of a file that comes whole, but is not the one that was promised
_UNTIL_CONFIGURED = (RefusedHost, TooLargeError)  # the same export, configured to allow it, tries again
_WRITERS = 16
_BATCHES = 2  # one that is copied and one that is listed meanwhile: URLs are used before they run out


class OriginalCopier:
    """Copies the files of one shard. Use an instance once."""

    def __init__(
        self,
        listing: Listing,
        shard: Shard,
        write: Callable[[str, bytes], None],
        open_stream: Callable[[str], AbstractContextManager[BinaryIO]],
    ) -> None:
        self._listing = listing
        self._client = listing.client
        self._shard = shard
        self._write = write
        self._open_stream = open_stream
        self._budget = self._client.original_budget
        self._results: dict[str, Copied | Failure] = {}
        self._left_out: set[int] = set()

    async def run(self, wanted: Sequence[Wanted]) -> list[tuple[str, Copied | Failure]]:
        """Copy the files; return the outcome of each with its path, in the order of ``wanted``."""
        by_record: dict[int, list[Wanted]] = {}
        for file in wanted:
            by_record.setdefault(file.record_id, []).append(file)
        gate = asyncio.Semaphore(_BATCHES)
        with concurrent.futures.ThreadPoolExecutor(min(_WRITERS, self._client.requests)) as writers:

            async def copy(batch: Batch) -> None:
                async with gate:
                    await self._copy_batch(batch, by_record, writers)

            await gather(copy(batch) for batch in self._listing.batches(self._shard, by_record))
        for file in wanted:
            transient = file.record_id in self._left_out
            problem = "the API leaves its record out of its list" if transient else "the API no longer lists its record"
            self._results.setdefault(file.path, copy_failure(file, problem, transient=transient))
        return [(file.path, self._results[file.path]) for file in wanted]

    async def _copy_batch(
        self, batch: Batch, by_record: dict[int, list[Wanted]], writers: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        pending = set(batch.keys)
        await self._copy_listed(batch, pending, by_record, writers)
        if pending:
            # Asked for again before it is believed: an answer may leave out a row that is there.
            await self._copy_listed(self._listing.only(batch, pending), pending, by_record, writers)
        if pending:
            self._left_out |= await self._listing.still_there(self._listing.only(batch, pending))

    async def _copy_listed(
        self,
        batch: Batch,
        pending: set[int],
        by_record: dict[int, list[Wanted]],
        writers: concurrent.futures.ThreadPoolExecutor,
    ) -> None:
        """Copy the files of the rows that are listed, and take their keys from ``pending``."""
        async with aclosing(self._listing.pages(batch, pending, self._listing.endpoint.file_fields)) as pages:
            async for rows in pages:
                taken = {row.key: row for row in rows}
                pending.difference_update(taken)
                finders = {key: FileFinder(self._listing.target) for key in taken}
                await gather(
                    self._copy(batch, row, file, finders[row.key], writers)
                    for row in taken.values()
                    for file in by_record[row.key]
                )

    async def _copy(
        self, batch: Batch, row: Row, file: Wanted, finder: FileFinder, writers: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        async with self._budget.lease() as lease:
            sink = FileSink(file, self._write, self._open_stream, writers, lease, self._listing.limits)

            async def fetch(row: Row, rank: int) -> Copied | Failure:
                original = finder.find(row, file.spec)
                if original is None or not original.url:
                    return copy_failure(file, "the API gives no URL of the file")
                sink.expect(original.file.checksum)
                for _ in range(_FETCHES):
                    try:
                        await self._client.fetch_original(original.url, sink, rank=rank)
                        result = await sink.finish()
                    except OtherSizeError as error:
                        result = sink.another_file(without_address(error))
                    except BackendError as error:
                        return copy_failure(
                            file, without_address(error), transient=isinstance(error, _UNTIL_CONFIGURED)
                        )
                    if not sink.differs:
                        break
                return result

            try:
                result = await with_fresh_url(self._listing, batch, row, fetch, self._listing.endpoint.file_fields)
            except TransientError as error:
                result = copy_failure(file, without_address(error), transient=True)
            except StorageTroubleError as trouble:
                raise trouble.args[0] from None
            finally:
                await sink.discard()
            self._results[file.path] = result
