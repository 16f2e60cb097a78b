"""List all keys of a target once, as cheaply as the API allows, and cut them into shards."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
import numpy as np

from pipeline.errors import UNREADABLE_JSON, BackendError
from pipeline.model.shards import Shard, pack_keys
from pipeline.synapse.http.event_loop import gather
from pipeline.synapse.listing.chunks import Chunk, cut_chunks, group_pages
from pipeline.synapse.listing.listing import Listing
from pipeline.synapse.listing.rows import Count, Id, decode_page

_PARALLEL_WALKS = 8
_MOST_WALKS = 64
_LISTINGS = 3  # of a list by page numbers whose count changes meanwhile
_REPEATED_PAGES = 3
_MORE_ROWS = 1000  # than twice the number that was counted: after so many, a list has no end


class PlanReport(msgspec.Struct):
    """What the listing showed: records, and rows that came more than once (each is planned once).

    ``missing`` are rows that the API counts, but did not list in any of several walks.
    """

    listed: int = 0
    duplicates: int = 0
    missing: int = 0


class _Key(msgspec.Struct, gc=False):
    id: Id
    pgh_id: Id | None = None
    ground_truth_dataset: Any = None

    def is_of(self, dataset: int | None) -> bool:
        own = self.ground_truth_dataset
        own = own.get("id") if isinstance(own, dict) else own
        return dataset is None or not isinstance(own, int) or own == dataset


class _KeyPage(msgspec.Struct):
    results: list[_Key]
    next: str | None = None
    count: Count | None = None


_DECODER = msgspec.json.Decoder(_KeyPage)


class Planner:
    """Makes the shards of one export. ``counted`` is how many records there should be, as far as is known.

    ``dataset`` is the ground truth dataset of the version that is exported, where that is known: an API that ignores
    the filter lists the events of all datasets, with status 200.
    """

    def __init__(
        self,
        listing: Listing,
        shard_size: int,
        on_progress: Callable[[int], None],
        counted: int | None,
        dataset: int | None = None,
    ) -> None:
        self._dataset = dataset
        self.report = PlanReport()
        self._listing = listing
        self._client = listing.client
        self._shard_size = shard_size
        self._on_progress = on_progress
        self._counted = counted
        self._limits = listing.limits
        self._is_ground_truth = not listing.has_range
        self._announced = 0

    async def plan(self) -> list[Shard]:
        """All shards, in ascending key order. Raises BackendError for a list that cannot be divided.

        A list that is shorter than the API's own count is walked again; what is missing still is in the report.
        """
        for _ in range(_LISTINGS - 1):
            shards = await self._list()
            if not await self._missing():
                return shards
            self.report = PlanReport()
        shards = await self._list()
        self.report.missing = await self._missing()
        return shards

    async def _missing(self) -> int:
        """How many rows the API counts, before the walk as well as now, that the walk did not show."""
        listed = self.report.listed + self.report.duplicates
        if (self._counted or 0) <= listed:
            return 0
        return max(0, min(self._counted or 0, await self._listing.count()) - listed)

    async def _list(self) -> list[Shard]:
        if self._is_ground_truth:
            return await self._plan_ground_truth()
        params = self._listing.walk_params(self._limits.page)
        first = await self._page(self._listing.endpoint.path, params)
        keys = _keys(first)
        if first.next is None or not keys:
            chunks = [self._chunk(first, self._listing.endpoint.path, None)]
        else:
            chunks = await self._walk_in_parallel(first, params)
        return cut_chunks(chunks, self._shard_size)

    async def sample(self, number: int) -> Shard:
        """The newest records, ``number`` at most, as a shard of their own: to look at, not to export."""
        params = self._listing.walk_params(min(number, self._limits.page))
        page = await self._page(self._listing.endpoint.path, params)
        chunk = self._chunk(page, self._start(self._listing.endpoint.path, params), None)
        if not self._is_ground_truth or not chunk.count:
            return Shard(0, chunk.count, chunk.keys)
        asked = await self._ids_select(page.results)
        models = chunk.models if asked == "models" else b""
        return Shard(0, chunk.count, chunk.keys, models, () if asked else (chunk.address,))

    async def _walk_in_parallel(self, first: _KeyPage, params: Mapping[str, str]) -> list[Chunk]:
        """The rest of a list with range filters, several stretches of keys at a time; highest keys first."""
        top = self._chunk(first, self._listing.endpoint.path, None)
        high = _keys(first)[-1]
        gate = asyncio.Semaphore(_PARALLEL_WALKS)

        async def walk(low: int | None, high: int) -> list[Chunk]:
            async with gate:
                return await self._walk({**params, **self._listing.bounded(low, high)}, low, high)

        stretches = await self._stretches(high, params)
        parts = await gather(walk(low, high) for low, high in stretches)
        return [top, *(chunk for part in parts for chunk in part)]

    async def _stretches(self, high: int, params: Mapping[str, str]) -> list[tuple[int | None, int]]:
        """Key ranges below ``high`` for about as many records each, if keys are evenly dense; highest first."""
        number = min(_MOST_WALKS, (self._counted or 0) // self._limits.rows_per_walk)
        if number < 2:
            return [(None, high)]
        lowest = await self._page(
            self._listing.endpoint.path, {**params, "ordering": self._listing.endpoint.key, "page_size": "1"}
        )
        low = min(_keys(lowest), default=high)
        edges = sorted({int(edge) for edge in np.linspace(low, high, number + 1)[1:-1] if low < edge < high})
        # The lowest stretch has no lower edge: what was found to be the lowest key only guides the division.
        lows: list[int | None] = [None, *edges]
        return list(zip(lows, [*edges, high], strict=True))[::-1]

    async def _walk(self, params: dict[str, str], low: int | None, high: int | None) -> list[Chunk]:
        """Read every page of a list in descending key order, within ``low <= key < high``."""
        chunks: list[Chunk] = []
        address, path, last, count = self._listing.endpoint.path, self._listing.endpoint.path, high, None
        repeated = 0
        while True:
            page = await self._page(address, params)
            keys = _keys(page)
            if self._listing.has_range and any(
                (high is not None and key >= high) or (low is not None and key < low) for key in (keys[:1] + keys[-1:])
            ):
                raise BackendError(path, "the API ignores id__lt and id__gte; this list cannot be divided into shards")
            if page.count is not None and count not in (None, page.count) and not self._listing.has_range:
                raise _ListChangedError
            count = page.count
            chunk = self._chunk(page, self._start(address, params), last)
            repeated = 0 if chunk.count else repeated + 1
            if repeated > _REPEATED_PAGES:
                raise BackendError(
                    path, "the API returns the same rows again and again; report this to the server's operator"
                )
            chunks.append(chunk)
            last = min([*keys[-1:], *([last] if last is not None else [])], default=None)
            if page.next is None:
                return chunks
            if page.count is None or not self._listing.has_range:
                address, params = page.next, {}
            elif last is not None:
                # Page numbers get slower with every row that is skipped, and skip rows when others vanish.
                params = {**params, **self._listing.bounded(low, last)}

    async def _plan_ground_truth(self) -> list[Shard]:
        """Events have no range filter: find out whether, and how, ids select them, else remember page addresses."""
        path = self._listing.endpoint.path
        probe = await self._page(path, self._listing.walk_params(10))
        if not probe.results:
            return []
        asked = await self._ids_select(probe.results)
        if asked is None and probe.count is not None:
            problem = (
                "this backend has neither cursors nor an ids filter for ground truth; it cannot be exported safely"
            )
            raise BackendError(path, problem)
        pages = -(-self._shard_size // self._limits.page)
        size = self._limits.page if asked else -(-self._shard_size // pages)
        for attempt in range(_LISTINGS):
            try:
                chunks = await self._walk(self._listing.walk_params(size), None, None)
                break
            except _ListChangedError:
                if attempt == _LISTINGS - 1:
                    problem = "rows come and go while they are listed; run again when nobody edits the dataset"
                    raise BackendError(path, problem) from None
                self.report = PlanReport()
        if asked is None:
            return group_pages(chunks, pages)
        return cut_chunks(chunks, self._shard_size, with_models=asked == "models")

    async def _ids_select(self, rows: list[_Key]) -> Literal["events", "models"] | None:
        """What ``ids=`` selects on this backend: events by their own key, all events of a model, or nothing at all."""
        some = rows[:2]
        events = {row.pgh_id for row in some}
        found = await self._listed_by_ids(sorted(events, key=str))
        if {row.pgh_id for row in found} == events:
            return "events"
        models = {row.id for row in some}
        found = await self._listed_by_ids(sorted(models))
        if events <= {row.pgh_id for row in found} and all(row.id in models for row in found):
            return "models"
        return None

    async def _listed_by_ids(self, ids: Iterable[int | None]) -> list[_Key]:
        params = {**self._listing.walk_params(self._limits.page), "ids": ",".join(map(str, ids))}
        return (await self._page(self._listing.endpoint.path, params)).results

    async def _page(self, address: str, params: Mapping[str, str]) -> _KeyPage:
        page = await self._client.fetch_page(address, params, self._decode)
        if not all(row.is_of(self._dataset) for row in page.results):
            problem = f"the API lists events of other ground truth datasets than {self._dataset}: it ignores the filter"
            raise BackendError(self._listing.endpoint.path, problem)
        return page

    def _decode(self, body: bytes) -> _KeyPage:
        page = _decode_keys(body)
        keys = _keys(page)
        if self._is_ground_truth and any(row.pgh_id is None for row in page.results):
            raise ValueError("a row has no pgh_id")
        if any(key < following for key, following in pairwise(keys)):
            raise ValueError("the rows are not in the order that was asked for")
        return page

    def _chunk(self, page: _KeyPage, address: str, last: int | None) -> Chunk:
        """The rows of a page below ``last``; the others were seen, or are newer than the plan."""
        new: dict[int, int] = {}
        for row in page.results:
            key = row.id if row.pgh_id is None else row.pgh_id
            if last is None or key < last:
                new.setdefault(key, row.id)
        self.report.listed += len(new)
        self.report.duplicates += len(page.results) - len(new)
        if self._counted is not None and self.report.listed > 2 * self._counted + _MORE_ROWS:
            problem = (
                f"the API lists more than {self.report.listed:,} records, but counts {self._counted:,}; "
                "report this to the server's operator"
            )
            raise BackendError(self._listing.endpoint.path, problem)
        # A list that had to be read again counts once.
        self._on_progress(max(0, self.report.listed - self._announced))
        self._announced = max(self._announced, self.report.listed)
        ordered = sorted(new)
        models = pack_keys([new[key] for key in ordered]) if self._is_ground_truth else b""
        return Chunk(len(ordered), pack_keys(ordered), models, address)

    def _start(self, address: str, params: Mapping[str, str]) -> str:
        """A page's address without the server and without what only the plan asks for."""
        if not self._is_ground_truth:
            return ""
        local = self._client.urls.of_request(address, params).raw_path_qs
        path, _, query = local.partition("?")
        return f"{path}?{urlencode([(name, value) for name, value in parse_qsl(query) if name != 'fields'])}"


class _ListChangedError(Exception):
    """Rows were added or removed while a list was read by page numbers: some may have been skipped."""


def _decode_keys(body: bytes) -> _KeyPage:
    """Decode a page of keys, whatever else is in it. Raises ValueError when a key cannot be read."""
    try:
        return _DECODER.decode(body)
    except UNREADABLE_JSON:
        page = decode_page(body)
    for row in page.results:
        if row.problem:
            raise ValueError(row.problem)
    keys = [_Key(row.id, row.pgh_id, row.ground_truth_dataset) for row in page.results]
    return _KeyPage(keys, page.next, page.count)


def _keys(page: _KeyPage) -> list[int]:
    return [row.id if row.pgh_id is None else row.pgh_id for row in page.results]
