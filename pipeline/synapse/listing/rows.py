"""Rows of the three lists, decoded from bytes, in every shape that the API is known to use.

A page is decoded typed, with documents left as raw bytes. A malformed row does not cost its page: the page is then read
once more, row by row, and an unreadable row gets a ``problem``.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec


class Row(msgspec.Struct, gc=False):
    """One row; ``pgh_id`` only of ground truth. ``problem`` says why the rest of the row could not be read."""

    id: int
    pgh_id: int | None = None
    project: Any = None
    category: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    file: Any = None
    files: Any = None
    files_manifest: Any = None
    data_unit: Any = None
    problem: str = ""

    @property
    def key(self) -> int:
        """What identifies the record: ``pgh_id`` where there is one, else ``id``."""
        return self.id if self.pgh_id is None else self.pgh_id

    def is_of(self, project: int | None) -> bool:
        """Whether the row belongs to ``project``, as far as it says."""
        own = self.project.get("id") if isinstance(self.project, dict) else self.project
        return project is None or not isinstance(own, int) or own == project


class Page(msgspec.Struct):
    """One page of a list; ``count`` only with page numbers, ``next`` None on the last."""

    results: list[Row]
    next: str | None = None
    count: int | None = None


class _RawPage(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None = None
    count: int | None = None


_PAGE = msgspec.json.Decoder(Page)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_ROW = msgspec.json.Decoder(Row)
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)


def decode_page(body: bytes) -> Page:
    """Decode a page, whatever its single rows look like. Raises ValueError if it is not a whole page."""
    try:
        return _PAGE.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass  # something in it is not as it should be: look closer
    try:
        raw = _RAW_PAGE.decode(body)
        return Page([_decode_row(bytes(row)) for row in raw.results], raw.next, raw.count)
    except (msgspec.DecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            raise
        # Part of it is not JSON or nested too deep: find the rows by their brackets alone.
        envelope = dict(_members(body))
    results = envelope.pop(b'"results"', b"")
    if not results.startswith(b"["):
        raise ValueError("not a page of results")
    envelope[b'"results"'] = b"[]"
    page = _PAGE.decode(b"{%b}" % b",".join(b"%b:%b" % member for member in envelope.items()))
    return Page([_decode_row(row) for _, row in _members(results)], page.next, page.count)


def _decode_row(body: bytes) -> Row:
    """Decode a row as far as possible; an unreadable document is left for its own reader."""
    try:
        return _ROW.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pairs = _members(body) if body.startswith(b"{") else ()
        members = {key.strip(b'"').decode(errors="replace"): value for key, value in pairs}
    number, event = _lenient(members.get("id", b""), int), _lenient(members.get("pgh_id", b"null"), int)
    row = Row(number or 0, event, data=msgspec.Raw(members.get("data", b"null")))
    if number is None:
        row.problem = "the row has no id"
    for name in ("project", "category", "file", "files", "files_manifest", "data_unit"):
        setattr(row, name, _lenient(members.get(name, b"null"), Any))
    return row


def _lenient(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        # A file name with half of a surrogate pair, which Windows allows, would cost the record its file.
        whole = json.dumps(json.loads(body), ensure_ascii=False).encode(errors="replace")
        return msgspec.json.decode(whole, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _members(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key (``b""`` in a list) and value of each member of an object or a list, as they are written.

    Only brackets, commas and texts are looked at, so that it works for what no JSON reader accepts. Raises ValueError
    when the end is missing.
    """
    depth = start = 0
    key = b""
    for token in _TOKENS.finditer(body):
        mark = token[0]
        if mark in b"{[":
            depth += 1
            if depth == 1:
                start = token.end()
        elif mark in b"}]":
            depth -= 1
            if depth == 0:
                if last := body[start : token.start()].strip():
                    yield key, last
                return
        elif depth == 1 and mark == b",":
            yield key, body[start : token.start()].strip()
            key, start = b"", token.end()
        elif depth == 1 and mark == b":":
            key, start = body[start : token.start()].strip(), token.end()
    raise ValueError("JSON is cut off")
