"""Requests to the three lists: which request returns which records, and what to do if an answer is too large.

``task`` and ``assignment`` have range filters on their unique key; ``ground_truth`` has none, and is asked by ids (of
events or of their models, whichever the backend understands), or, where it ignores those, by the URLs of the pages
that were found when the plan was made.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import batched
from urllib.parse import parse_qsl

import msgspec

from pipeline.errors import BackendError
from pipeline.model.shards import Shard, unpack_keys
from pipeline.synapse.http.byte_budget import Lease
from pipeline.synapse.http.transport import PAGE, Transport
from pipeline.synapse.limits import DEFAULT_LIMITS, SourceLimits
from pipeline.synapse.listing.rows import Row, decode_page

# Ids in one request: at seven digits and an encoded comma each, half of what a query may hold.
_MOST_IDS = 500
_SELECTIONS = ("id", "id__in", "ids")
_BOUNDS = ("id__gt", "id__gte", "id__lt", "id__lte")


class Endpoint(msgspec.Struct, frozen=True):
    """One of the lists: its path, its unique key, and the fields that hold files."""

    path: str
    key: str
    key_fields: str
    file_fields: str
    expand: str = ""


ENDPOINTS: Mapping[str, Endpoint] = {
    "task": Endpoint("sdk/tasks/", "id", "id", "id,data_unit,files_manifest", expand="data_unit"),
    "assignment": Endpoint("sdk/assignments/", "id", "id", "id,file,files_manifest"),
    "ground_truth": Endpoint(
        "sdk/ground_truth_events/",
        "pgh_id",
        "id,pgh_id,ground_truth_dataset",
        "id,pgh_id,data_unit,files,files_manifest",
    ),
}


class Batch(msgspec.Struct, frozen=True):
    """Records to be listed by one request (and its ``next`` pages).

    ``keys`` ascend; ``models`` are aligned with them, when it is those that ``ids=`` selects by; ``start`` is the
    address of the page on which the highest key was found when the plan was made, for lists without an ids filter.
    """

    keys: tuple[int, ...]
    models: tuple[int, ...] = ()
    start: str = ""
    page_size: int = 100

    @property
    def rows(self) -> int:
        """Most rows that one answer can have."""
        return min(len(self.keys), self.page_size)


class _Range:
    """The lowest and the highest key of the pages so far: a list in order brings keys beyond them with each page."""

    def __init__(self) -> None:
        self._edges: list[int] = []

    def extend(self, keys: Iterable[int]) -> bool:
        """Take the keys of a page; return whether there is a new one beyond the others."""
        before = self._edges
        every = [*before, *keys]
        self._edges = [min(every), max(every)] if every else []
        return self._edges != before


class Listing:
    """One target's list under one (checked) filter; ``expand`` is a field wanted in full besides the endpoint's own."""

    def __init__(
        self,
        client: Transport,
        target: str,
        filter: Mapping[str, str],  # noqa: A002  the configuration's word
        page_size: int,
        expand: str = "",
        limits: SourceLimits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        self.client = client
        self.target = target
        self.endpoint = ENDPOINTS[target]
        self.filter = dict(filter)
        self.page_size = page_size
        self.expand = self.endpoint.expand or expand
        self.has_range = target != "ground_truth"
        self.project = int(filter["project"]) if "project" in filter else None

    async def count(self) -> int:
        """Return how many records there are now, by the server's own count."""
        params = {**self.filter, "fields": self.endpoint.key_fields, "page_size": "1"}
        page = await self.client.fetch_page(self.endpoint.path, params, decode_page)
        if page.count is None:
            raise BackendError(
                self.endpoint.path, "the API does not say how many records there are; is SYNAPSE_HOST right?"
            )
        return page.count

    async def probe(self) -> None:
        """Send a tiny request. Raises TransientError if the server is in trouble, and not just one record."""
        params = {**self.filter, "fields": self.endpoint.key_fields, "page_size": "1"}
        await self.client.fetch_page(self.endpoint.path, params, decode_page)

    def walk_params(self, page_size: int) -> dict[str, str]:
        """Return the parameters of the cheapest request that lists every record, newest first."""
        return {
            **self.filter,
            "fields": self.endpoint.key_fields,
            "ordering": f"-{self.endpoint.key}",
            "pagination": "cursor",
            "page_size": str(page_size),
        }

    def bounded(self, low: int | None, high: int | None) -> dict[str, str]:
        """Return parameters for keys from ``low`` to below ``high``, within the filter's own bounds."""
        bounds: dict[str, str] = {}
        if low is not None:
            bounds["id__gte"] = str(max(low, int(self.filter.get("id__gte", low))))
        if high is not None:
            bounds["id__lt"] = str(min(high, int(self.filter.get("id__lt", high))))
        return bounds

    def batches(self, shard: Shard, only: Iterable[int] | None = None) -> list[Batch]:
        """Return requests that together list the shard's records, or ``only`` some of them."""
        keys = unpack_keys(shard.keys)
        wanted = set(keys.tolist() if only is None else only)
        if shard.cursors and not shard.models:
            batches = (self.only(batch, wanted) for batch in self._by_cursor(keys.tolist(), shard))
            return [batch for batch in batches if batch.keys]
        chosen = [position for position, key in enumerate(keys.tolist()) if key in wanted]
        models = unpack_keys(shard.models)[chosen] if shard.models else None
        keys = keys[chosen]
        size = min(self.page_size, _MOST_IDS) if self._asks_ids else self.page_size
        found: list[Batch] = []
        for positions in batched(range(len(keys)), size):
            part = slice(positions[0], positions[-1] + 1)
            of_part = () if models is None else tuple(models[part].tolist())
            found.append(Batch(tuple(keys[part].tolist()), of_part, page_size=self.page_size))
        return found

    def _by_cursor(self, keys: Sequence[int], shard: Shard) -> list[Batch]:
        """Return the keys of each planned page with the page's URL; a page that lost rows is read a little further."""
        given = dict(parse_qsl(shard.cursors[0].partition("?")[2])).get("page_size", "")
        if not given.isdigit() or int(given) * len(shard.cursors) < shard.count:
            return [Batch(tuple(keys), start=shard.cursors[0], page_size=self.page_size)]
        parts = list(batched(keys[::-1], int(given)))
        return [
            Batch(tuple(reversed(part)), start=start, page_size=self.page_size)
            for part, start in zip(parts, shard.cursors, strict=False)
        ]

    @property
    def _asks_ids(self) -> bool:
        """Whether records are asked for one by one: there are no ranges, or they would mostly hold other records."""
        return not self.has_range or any(name in self.filter for name in _SELECTIONS)

    def request(self, batch: Batch, fields: str = "") -> tuple[str, dict[str, str]]:
        """Return address and parameters that list ``batch``: whole rows with fresh URLs, or only some ``fields``."""
        params = {"ordering": f"-{self.endpoint.key}", "pagination": "cursor", "page_size": str(batch.page_size)}
        params |= {"fields": fields} if fields else {"response_mode": "presigned"}
        if self.expand:
            params["expand"] = self.expand
        if batch.start:
            return batch.start, params
        own = {key: value for key, value in self.filter.items() if key not in (*_SELECTIONS, *_BOUNDS)}
        if self._asks_ids:
            own["ids"] = ",".join(map(str, dict.fromkeys(batch.models or batch.keys)))
        else:
            own |= {"id__gte": str(batch.keys[0]), "id__lte": str(batch.keys[-1])}
        return self.endpoint.path, {**own, **params}

    async def pages(
        self, batch: Batch, pending: set[int], fields: str = "", *, rank: int = PAGE, lease: Lease | None = None
    ) -> AsyncGenerator[list[Row]]:
        """Yield rows of ``pending`` keys, page by page; the caller removes the keys that it takes from ``pending``.

        Ends when nothing is pending, the list is at its end, or a page brings nothing new: a link may lead in a circle.
        Rows that were not planned are left out. Raises BackendError for a list without end.
        """
        address, params = self.request(batch, fields)
        limit = self.limits.shared_page if batch.rows > 1 else None
        seen = _Range()
        for _ in range(self.limits.pages_per_batch):
            page = await self.client.fetch_page(address, params, decode_page, lease, rank=rank, limit=limit)
            following, rows = page.next, [row for row in page.results if row.key in pending]
            is_new = seen.extend([row.key for row in page.results])
            passed = bool(batch.start) and min((row.key for row in page.results), default=0) < min(pending)
            del page
            yield rows
            if following is None or passed or not pending or not is_new:
                return
            address, params = following, {}
        problem = (
            f"the API gives more than {self.limits.pages_per_batch:,} pages for {len(batch.keys):,} records; "
            "report this to the server's operator"
        )
        raise BackendError(self.endpoint.path, problem)

    async def still_there(self, batch: Batch) -> set[int]:
        """Return which records of a batch the API still has, as far as it says, although it does not list their rows.

        That are those whose keys it lists, and all others of the batch if it counts more than it lists. Where ``ids=``
        has no effect there is no such count.
        """
        if batch.start:
            return set()
        keys, asked = set(batch.keys), set(batch.models or batch.keys)
        own = {key: value for key, value in self.filter.items() if key not in (*_SELECTIONS, *_BOUNDS)}
        params = {**own, "fields": self.endpoint.key_fields, "page_size": str(self.limits.page)}
        found: set[int] = set()
        for some in batched(sorted(asked), _MOST_IDS):
            params["ids"] = ",".join(map(str, some))
            page = await self.client.fetch_page(self.endpoint.path, params, decode_page)
            if any((row.id if batch.models else row.key) not in asked for row in page.results):
                return keys & {row.key for row in page.results}  # it ignores ids: its count is that of the whole list
            if page.next is None and (page.count or 0) > len(page.results):
                return keys
            found |= {row.key for row in page.results}
        return keys & found

    async def row(self, batch: Batch, key: int, fields: str = "", *, rank: int = PAGE) -> Row | None:
        """Return one record's row as it is now, or None if the API no longer lists it."""
        pending = {key}
        found = None
        async with aclosing(self.pages(self.only(batch, pending), pending, fields, rank=rank)) as pages:
            async for rows in pages:
                if rows:
                    found = rows[0]
                    break
        return found

    def only(self, batch: Batch, keys: set[int]) -> Batch:
        """Return the part of ``batch`` with these keys."""
        chosen = [position for position, key in enumerate(batch.keys) if key in keys]
        return msgspec.structs.replace(
            batch,
            keys=tuple(batch.keys[position] for position in chosen),
            models=tuple(batch.models[position] for position in chosen) if batch.models else (),
        )

    def smaller(self, batch: Batch, pending: set[int]) -> list[Batch]:
        """Return requests for fewer rows that list the same ``pending`` records, or none if that is impossible."""
        if batch.start:
            size = batch.page_size // 2
            return [msgspec.structs.replace(self.only(batch, pending), page_size=size)] if size else []
        if len(pending) < 2:
            return []
        ordered = sorted(pending)
        middle = len(ordered) // 2
        return [self.only(batch, set(half)) for half in (ordered[:middle], ordered[middle:])]
