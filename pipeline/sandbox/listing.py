"""The three list endpoints: filters, order, page numbers and cursors (contract, section 3)."""

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pipeline.sandbox.data import SandboxData
from pipeline.sandbox.filters import Selection, select, split_query
from pipeline.sandbox.options import SandboxOptions, Target
from pipeline.sandbox.rows import Rows

LARGEST_PAGE = 1000
_DEFAULT_PAGE = 100
_CACHED_SELECTIONS = 64


class InvalidPageError(Exception):
    """A page after the last one, or an invalid cursor: 404."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """One request of a list endpoint. ``variant`` is ``""``, ``data`` or ``files``; ``origin`` is scheme and host."""

    target: Target
    variant: str
    path: str
    query: Mapping[str, str]
    origin: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """The body, the query keys that had no effect, and the number of rows skipped by page number."""

    body: bytes
    ignored: Sequence[str]
    offset: int


class Listing:
    """Answers list requests over rows that can be deleted and added between requests."""

    def __init__(self, options: SandboxOptions, data: SandboxData, rows: Rows) -> None:
        self.deleted: dict[Target, set[int]] = {"task": set(), "assignment": set(), "ground_truth": set()}
        self._options = options
        self._data = data
        self._rows = rows
        self._selections: dict[tuple[Target, frozenset[tuple[str, str]]], Selection] = {}

    def forget(self) -> None:
        """Discard what was computed before rows were added or deleted."""
        self._selections.clear()

    def selection(self, target: Target, filters: Mapping[str, str]) -> Selection:
        """Return the rows that pass ``filters``, computed once per filter. Raises ``BadFilterError``."""
        address = (target, frozenset(filters.items()))
        if address not in self._selections:
            if len(self._selections) >= _CACHED_SELECTIONS:
                self._selections.clear()
            self._selections[address] = select(self._data, target, self.deleted[target], filters)
        return self._selections[address]

    def answer(self, request: ListRequest) -> ListAnswer:
        """Return one page. Raises ``BadFilterError`` (400) and :class:`InvalidPageError` (404)."""
        filters, ignored = split_query(
            request.target, request.query, ids_filter_ground_truth=self._options.ids_filter_ground_truth
        )
        selection = self.selection(request.target, filters)
        size = _page_size(request.query.get("page_size", ""))
        unique = "pgh_id" if request.target == "ground_truth" else "id"
        ordering = request.query.get("ordering", "").strip()
        if ordering.removeprefix("-") not in {unique, "created"}:
            ordering = "-created"
        if request.query.get("pagination") == "cursor" and self._options.pagination == "cursor":
            indexes, cursor = self._cursor_page(selection, ordering, request.query.get("cursor", ""), size)
            following = _link(request, cursor=cursor) if cursor else None
            head: dict[str, Any] = {"next": following, "previous": None}
            return ListAnswer(self._body(request, head, indexes), ignored, 0)
        number = _page_number(request.query.get("page", ""), len(selection.positions), size)
        start = (number - 1) * size
        indexes = self._ordered(selection, ordering)[start : start + size]
        more = start + size < len(selection.positions)
        head = {
            "count": len(selection.positions) + (7 if request.fault == "wrong_count" else 0),
            "next": _link(request, page=str(number + 1)) if more else None,
            "previous": _link(request, page=str(number - 1)) if number > 1 else None,
        }
        return ListAnswer(self._body(request, head, indexes), ignored, start)

    def _ordered(self, selection: Selection, ordering: str) -> Sequence[int]:
        """Return all positions in order; rows of one ``created`` stay in the order of their keys."""
        if ordering in {"id", "pgh_id", "created"}:
            return selection.positions
        if ordering != "-created":
            return selection.positions[::-1]
        if ordering not in selection.orders:
            created = {position: self._data.tie(position) for position in selection.positions}
            selection.orders[ordering] = sorted(selection.positions, key=lambda position: -created[position])
        return selection.orders[ordering]

    def _cursor_page(
        self, selection: Selection, ordering: str, cursor: str, size: int
    ) -> tuple[Sequence[int], str | None]:
        """Return a page by value, not by offset; by ``created``, the rest of a tie is lost at the end of a page."""
        descending = ordering.startswith("-")
        positions: Sequence[int] = selection.positions
        if ordering.removeprefix("-") == "created":
            values: Sequence[int] = [self._data.tie(position) for position in selection.positions]
        else:
            values = selection.keys
        if descending:
            end = bisect_left(values, _decode(cursor)) if cursor else len(values)
            start = max(0, end - size)
            page, last, more = positions[start:end][::-1], start, start > 0
        else:
            start = bisect_right(values, _decode(cursor)) if cursor else 0
            end = min(len(values), start + size)
            page, last, more = positions[start:end], end - 1, end < len(values)
        return page, _encode(values[last]) if more and page else None

    def _body(self, request: ListRequest, head: dict[str, Any], indexes: Sequence[int]) -> bytes:
        match request.fault:
            case "foreign_row":
                indexes = [0, *indexes[1:]]
            case "duplicate_row":
                indexes = [*indexes[:1], *indexes]
            case "missing_row":
                indexes = indexes[:-1]
            case "foreign_next" if head["next"]:
                head["next"] = head["next"].replace("//127.0.0.1", "//127.0.0.2").replace("//localhost", "//127.0.0.2")
        envelope = json.dumps({**head, "results": []}, separators=(",", ":")).encode()
        return b"".join((envelope[:-2], *self._rows_of(request, indexes), b"]}"))

    def _rows_of(self, request: ListRequest, indexes: Sequence[int]) -> list[bytes]:
        query, target = request.query, request.target
        wanted = [name.strip() for name in query.get("fields", "").split(",") if name.strip()]
        expanded = target != "task" or "data_unit" in query.get("expand", "").split(",")
        presigned = query.get("response_mode") == "presigned"
        if wanted and not request.variant and set(wanted) <= {"id", "pgh_id"}:
            return [b",".join(self._key_row(target, index, wanted) for index in indexes)]
        if not wanted and not request.variant:
            return self._rows.page(target, indexes, origin=request.origin, expanded=expanded, presigned=presigned)
        parts: list[bytes] = []
        for index in indexes:
            if request.variant:
                row = self._rows.slim(target, index, request.variant)
            else:
                row = self._rows.row(target, index, expanded=expanded)
            row = {name: value for name, value in row.items() if not wanted or name in wanted}
            pieces = self._rows.render(index, row, presigned=presigned)
            parts += (
                [b",", *self._rows.signed(pieces, request.origin)]
                if parts
                else self._rows.signed(pieces, request.origin)
            )
        return parts

    def _key_row(self, target: Target, index: int, wanted: Sequence[str]) -> bytes:
        key = self._data.keys[target][index]
        if target != "ground_truth":
            return b'{"id":%d}' % key if "id" in wanted else b"{}"
        fields = {"id": self._data.facts(index).ground_truth_id} if "id" in wanted else {}
        fields |= {"pgh_id": key} if "pgh_id" in wanted else {}
        return json.dumps(fields, separators=(",", ":")).encode()


def _page_size(text: str) -> int:
    return min(int(text), LARGEST_PAGE) if text.isdigit() and int(text) else _DEFAULT_PAGE


def _page_number(text: str, count: int, size: int) -> int:
    last = max(1, -(-count // size))
    if text == "last":
        return last
    if text and not (text.isdigit() and 1 <= int(text) <= last):
        raise InvalidPageError("Invalid page.")
    return int(text or 1)


def _link(request: ListRequest, **changed: str) -> str:
    return f"{request.origin}{request.path}?{urlencode({**request.query, **changed})}"


def _encode(value: int) -> str:
    return base64.urlsafe_b64encode(f"p={value}".encode()).decode()


def _decode(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor).removeprefix(b"p="))
    except (ValueError, binascii.Error) as error:
        raise InvalidPageError("Invalid cursor") from error
