"""Rows of the three lists, decoded from bytes: keys, documents, files. Tolerant of every shape the API is known for.

A page is decoded typed, with documents left as raw bytes. A row that is not what it should be does not take its page
down: the page is then read once more, row by row, and what cannot be read becomes a row with a ``problem``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.records import File

_SPEC_KEYS = ("specification", "specification_name", "file_specification")
_NAME_KEYS = ("file_name_original", "filename", "name")
_KINDS = {
    "image": "image", "video": "video", "pcd": "pcd", "text": "text", "audio": "audio", "data": "data",
    "prompt": "prompt",
}  # fmt: skip
_INFO_KEYS = {"url", "path", "path_original", "file_type", "is_primary", "checksum", *_NAME_KEYS}


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


class Wrapper(msgspec.Struct, gc=False):
    """What stands in a row in place of a document that is kept elsewhere, or next to a document."""

    mode: str
    presigned_url: str | None = None
    size: int | None = None
    data_digest: str | None = None
    truncated: bool = False

    def promises_what(self, other: "Wrapper") -> bool:
        """Whether both describe the same bytes, as far as they tell."""
        return (self.size, self.data_digest) == (other.size, other.data_digest)


class _Inline(msgspec.Struct, gc=False):
    mode: str
    data: msgspec.Raw
    truncated: bool = False


class Original(msgspec.Struct, frozen=True, gc=False):
    """A file of a row and where it can be fetched now (``""`` when the API does not say)."""

    file: File
    url: str


class _RawPage(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None = None
    count: int | None = None


_PAGE = msgspec.json.Decoder(Page)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_ROW = msgspec.json.Decoder(Row)
_WRAPPER = msgspec.json.Decoder(Wrapper)
_INLINE = msgspec.json.Decoder(_Inline)
_LARGEST_WRAPPER = 4096
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)


def decode_page(body: bytes) -> Page:
    """A page, whatever single rows of it look like. Raises ValueError when it is no page, or not all of one."""
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
        # Some of it is no JSON, or nested too deep to be looked at: find the rows by their brackets alone.
        envelope = dict(_members(body))
    results = envelope.pop(b'"results"', b"")
    if not results.startswith(b"["):
        raise ValueError("not a page of results")
    envelope[b'"results"'] = b"[]"
    page = _PAGE.decode(b"{%b}" % b",".join(b"%b:%b" % member for member in envelope.items()))
    return Page([_decode_row(row) for _, row in _members(results)], page.next, page.count)


def _decode_row(body: bytes) -> Row:
    """One row, as far as it can be read; a document that cannot be is left for others to judge."""
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


def wrapper_of(data: msgspec.Raw) -> Wrapper | None:
    """The wrapper, when ``data`` is one whose document has to be fetched (or should be, and cannot); else None."""
    view = memoryview(data)
    if len(view) > _LARGEST_WRAPPER or b'"mode"' not in bytes(view):
        return None
    try:
        wrapper = _WRAPPER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    if wrapper.mode == "presigned" or (wrapper.mode == "inline" and wrapper.truncated):
        return wrapper
    return None


def unwrapped(document: bytes) -> bytes:
    """The document itself, when it stands in a wrapper next to it; else ``document``."""
    if b'"mode"' in document[:200] or b'"mode"' in document[-200:]:
        try:
            inline = _INLINE.decode(document)
        except (msgspec.DecodeError, RecursionError):
            return document
        if inline.mode == "inline" and not inline.truncated:
            return bytes(inline.data)
    return document


def originals_of(row: Row, target: str) -> list[Original]:
    """The files of a row in the server's order, exactly one of them primary (when there are any)."""
    infos = _infos(row, target)
    specs = list(infos)
    primary = next((spec for spec in specs if infos[spec].get("is_primary") is True), None)
    if primary is None:
        # Without a mark it is the first, but never the sidecar of an image.
        primary = next((spec for spec in specs if _kind(spec, infos[spec]) != "data"), specs[0] if specs else "")
    return [_original(spec, infos[spec], primary=spec == primary) for spec in specs]


def files_json(row: Row, target: str) -> bytes:
    """The row's file infos as a JSON object by spec, as the server gives them but without any URL."""
    return msgspec.json.encode({spec: _without_urls(info) for spec, info in _infos(row, target).items()})


def _infos(row: Row, target: str) -> dict[str, Mapping[str, Any]]:
    unit = row.data_unit if isinstance(row.data_unit, dict) else {}
    candidates: tuple[Any, ...]
    if target == "assignment":  # its data unit names files too, but without a way to fetch them
        candidates = (row.files_manifest, row.file)
    else:
        candidates = (row.files_manifest, unit.get("files_manifest"), row.files, unit.get("files"))
    for candidate in candidates:
        if found := _by_spec(candidate):
            return found
    return {}


def _by_spec(files: Any) -> dict[str, Mapping[str, Any]]:
    """File infos by spec from any of the shapes they come in: by spec, as a list, one alone, or just a URL."""
    if isinstance(files, str):
        return {"": {"url": files}} if files else {}
    if isinstance(files, dict):
        if any(key in _INFO_KEYS and not isinstance(value, dict) for key, value in files.items()):
            return {"": files}
        return {
            str(spec): {"url": info} if isinstance(info, str) else info
            for spec, info in files.items()
            if isinstance(info, dict | str)
        }
    found: dict[str, Mapping[str, Any]] = {}
    for info in files if isinstance(files, list) else ():
        if isinstance(info, str):
            info = {"url": info}  # noqa: PLW2901
        if isinstance(info, dict):
            found[_spec_of(info, found)] = info
    return found


def _spec_of(info: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    for key in (*_SPEC_KEYS, *(("name",) if "file_name_original" in info else ())):
        value = info.get(key)
        value = value.get("name") if isinstance(value, dict) else value
        if isinstance(value, str) and value and value not in taken:
            return value
    kind = _kind("", info) or "image"
    number = 1
    while f"{kind}_{number}" in taken:
        number += 1
    return f"{kind}_{number}"


def _original(spec: str, info: Mapping[str, Any], *, primary: bool) -> Original:
    meta = info.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    name = next((value for key in _NAME_KEYS if isinstance(value := info.get(key), str) and value), "")
    url, checksum = info.get("url"), info.get("checksum")
    file = File(
        spec=spec,
        name=name,
        kind=_kind(spec, info),
        primary=primary,
        width=_positive(meta.get("width")),
        height=_positive(meta.get("height")),
        size=_positive(info.get("size")),
        checksum=checksum if isinstance(checksum, str) else "",
    )
    return Original(file, url if isinstance(url, str) else "")


def _kind(spec: str, info: Mapping[str, Any]) -> str:
    kind = info.get("file_type")
    return kind if isinstance(kind, str) and kind else _KINDS.get(spec.split("_", 1)[0], "")


def _positive(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _without_urls(value: Any) -> Any:
    """``value`` without URLs: they are signed, they expire, and they are nobody's business after the export."""
    if isinstance(value, dict):
        return {
            key: _without_urls(inner)
            for key, inner in value.items()
            if not (key == "url" or str(key).endswith("_url")) and not is_url(inner)
        }
    if isinstance(value, list):
        return [_without_urls(inner) for inner in value if not is_url(inner)]
    return value


def is_url(value: Any) -> bool:
    """Whether a value is an address with its scheme; the ones in rows are signed and run out."""
    return isinstance(value, str) and re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE) is not None
