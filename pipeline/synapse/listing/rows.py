"""Rows of the three lists, decoded from bytes, in every shape that the API is known to use.

A page is decoded typed, with documents left as raw bytes. A malformed row does not cost its page: the page is then read
once more, row by row. What no reader of JSON accepts in a row becomes null there, and an unreadable row gets a
``problem``.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from pipeline.errors import UNREADABLE_JSON
from pipeline.synapse.documents.bounds import MAX_DEPTH

_MOST = 2**63 - 1  # keys and counts are staged as integers of 64 bits

type Id = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
type Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class Row(msgspec.Struct, gc=False):
    """One row; ``pgh_id`` only of ground truth. ``problem`` says why the rest of the row could not be read."""

    id: Id
    pgh_id: Id | None = None
    project: Any = None
    category: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    file: Any = None
    files: Any = None
    files_manifest: Any = None
    data_unit: Any = None
    ground_truth_dataset: Any = None
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
    count: Count | None = None


class _RawPage(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None = None
    count: Count | None = None


class _Envelope(msgspec.Struct):
    next: str | None = None
    count: Count | None = None


_PAGE = msgspec.json.Decoder(Page)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_ROW = msgspec.json.Decoder(Row)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ID = msgspec.json.Decoder(Id | None)
_ANY = msgspec.json.Decoder(Any)
_DESCRIBED = ("file", "files", "files_manifest", "data_unit")
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_DOUBTFUL = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]|-?(?:NaN|Infinity)|-?[0-9][0-9.eE+-]{300,}', re.DOTALL)


def decode_page(body: bytes) -> Page:
    """Decode a page, whatever its single rows look like. Raises ValueError if it is not a whole page."""
    try:
        return _PAGE.decode(body)
    except UNREADABLE_JSON:
        pass  # something in it is not as it should be: look closer
    try:
        raw = _RAW_PAGE.decode(body)
        return Page([_decode_row(bytes(row)) for row in raw.results], raw.next, raw.count)
    except UNREADABLE_JSON as error:
        if isinstance(error, msgspec.ValidationError):
            raise
        # Part of it is not JSON or nested too deep: find the rows by their brackets alone.
        members = dict(_members(body))
    results = members.get(b'"results"', b"")
    if not results.startswith(b"["):
        raise ValueError("not a page of results")
    known = (b"%b:%b" % (name, _repaired(members[name])) for name in (b'"next"', b'"count"') if name in members)
    envelope = _ENVELOPE.decode(b"{%b}" % b",".join(known))
    return Page([_decode_row(row) for _, row in _members(results)], envelope.next, envelope.count)


def _decode_row(body: bytes) -> Row:
    """Decode a row as far as possible; an unreadable document is left for its own reader."""
    try:
        return _ROW.decode(body)
    except UNREADABLE_JSON:
        pairs = _members(body) if body.startswith(b"{") else ()
        members = {key.strip(b'"').decode(errors="replace"): value for key, value in pairs}
    number, event = _lenient(members.get("id", b""), _ID), _lenient(members.get("pgh_id", b"null"), _ID)
    row = Row(number or 0, event, data=msgspec.Raw(members.get("data", b"null")))
    for name in ("project", "category", "ground_truth_dataset", *_DESCRIBED):
        value = members.get(name, b"null")
        setattr(row, name, _lenient(value, _ANY))
        if name in _DESCRIBED and value != b"null" and getattr(row, name) is None:
            row.problem = f"what the API says in {name} is not JSON, so the record's files are not known"
    if number is None:
        row.problem = "the row has no id that can be read"
    return row


def _lenient[T](body: bytes, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Decode a value, in which null stands for what no reader accepts; None when it is not JSON at all."""
    for read in (bytes, _repaired, _with_whole_texts):
        try:
            return decoder.decode(read(body))
        except (ValueError, RecursionError):
            continue
    return None


def _with_whole_texts(body: bytes) -> bytes:
    """A file name with half of a surrogate pair, which Windows allows, would cost the record its file."""
    return json.dumps(json.loads(_repaired(body)), ensure_ascii=False).encode(errors="replace")


def _repaired(body: bytes) -> bytes:
    """Return JSON with null for what is nested too deep, and for numbers that are none or have hundreds of digits.

    Only brackets, texts and numbers are looked at: no recursion, however deep it goes.
    """
    kept: list[bytes] = []
    depth = start = 0
    for token in _DOUBTFUL.finditer(body):
        mark = token[0][:1]
        if mark in b"{[":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [body[start : token.start()], b"null"]
        elif mark in b"}]":
            depth -= 1
            if depth == MAX_DEPTH:
                start = token.end()
        elif mark != b'"' and depth <= MAX_DEPTH:
            kept += [body[start : token.start()], b"null"]
            start = token.end()
    return b"".join([*kept, body[start:]]) if depth <= MAX_DEPTH else body


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
