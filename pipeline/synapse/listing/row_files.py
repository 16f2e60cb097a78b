"""The files of a row, in any of the shapes in which the API gives them."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.records import File
from pipeline.synapse.documents.bounds import MAX_DEPTH
from pipeline.synapse.documents.shapes import MAX_COORDINATE
from pipeline.synapse.listing.rows import Row

_SPEC_KEYS = ("specification", "specification_name", "file_specification")
_NAME_KEYS = ("file_name_original", "filename", "name")
_KINDS = {
    "image": "image", "video": "video", "pcd": "pcd", "text": "text", "audio": "audio", "data": "data",
    "prompt": "prompt",
}  # fmt: skip
_LARGEST_SIDE = int(MAX_COORDINATE)
_LARGEST_SIZE = 2**63 - 1
_INFO_KEYS = frozenset(("url", "path", "path_original", "file_type", "is_primary", "checksum", *_NAME_KEYS))


class FetchableFile(msgspec.Struct, frozen=True, gc=False):
    """A file of a row and where it can be fetched now (``""`` when the API does not say)."""

    file: File
    url: str


def originals_of(row: Row, target: str) -> list[FetchableFile]:
    """Return the files of a row in the server's order; exactly one is primary, if there are any."""
    infos = _infos(row, target)
    if len(infos) == 1:
        return [_fetchable(spec, info, primary=True) for spec, info in infos.items()]
    specs = list(infos)
    primary = next((spec for spec in specs if infos[spec].get("is_primary") is True), None)
    if primary is None:
        # Without a mark it is the first, but never the sidecar of an image.
        primary = next((spec for spec in specs if _kind(spec, infos[spec]) != "data"), specs[0] if specs else "")
    return [_fetchable(spec, infos[spec], primary=spec == primary) for spec in specs]


class FileFinder:
    """Finds the files of one record by their specs, and reads its row once for all of them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._row: Row | None = None
        self._files: dict[str, FetchableFile] = {}

    def find(self, row: Row, spec: str) -> FetchableFile | None:
        """Return the file as ``row`` says it: the row that was read last, or a fresh one."""
        if row is not self._row:
            self._row = row
            self._files = {original.file.spec: original for original in originals_of(row, self._target)}
        return self._files.get(spec)


def files_json(row: Row, target: str) -> bytes:
    """Return the row's file infos as a JSON object by spec, as the server gives them but without any URL."""
    return msgspec.json.encode({spec: _without_urls(info) for spec, info in _infos(row, target).items()})


def is_url(value: Any) -> bool:
    """Whether a value is a URL with its scheme; the URLs in rows are signed and expire."""
    return isinstance(value, str) and re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE) is not None


def _infos(row: Row, target: str) -> dict[str, Mapping[str, Any]]:
    unit = row.data_unit if isinstance(row.data_unit, dict) else {}
    candidates: tuple[Any, ...]
    if target == "assignment":  # its data unit names files too, but without a way to fetch them
        candidates = (row.files_manifest, row.file)
    else:
        candidates = (row.files_manifest, unit.get("files_manifest"), row.files, unit.get("files"))
    for candidate in candidates:
        if candidate and (found := _by_spec(candidate)):
            return found
    return {}


def _by_spec(files: Any) -> dict[str, Mapping[str, Any]]:
    """Return file infos by spec from any of their shapes: by spec, as a list, a single one, or just a URL."""
    if isinstance(files, str):
        return {"": {"url": files}} if files else {}
    if isinstance(files, dict):
        if any(not isinstance(files[key], dict) for key in _INFO_KEYS.intersection(files)):
            return {"": files}
        return {
            str(spec): {"url": info} if isinstance(info, str) else info
            for spec, info in files.items()
            if isinstance(info, dict | str)
        }
    found: dict[str, Mapping[str, Any]] = {}
    numbers: Counter[str] = Counter()
    for info in files if isinstance(files, list) else ():
        if isinstance(info, str):
            info = {"url": info}  # noqa: PLW2901
        if isinstance(info, dict):
            found[_spec_of(info, found, numbers)] = info
    return found


def _spec_of(info: Mapping[str, Any], taken: Mapping[str, Any], numbers: Counter[str]) -> str:
    """The spec that a file names, or its kind with the next free number; ``numbers`` are the last ones by kind."""
    for key in (*_SPEC_KEYS, *(("name",) if "file_name_original" in info else ())):
        value = info.get(key)
        value = value.get("name") if isinstance(value, dict) else value
        if isinstance(value, str) and value and value not in taken:
            return value
    kind = _kind("", info) or "image"
    numbers[kind] += 1
    while f"{kind}_{numbers[kind]}" in taken:
        numbers[kind] += 1
    return f"{kind}_{numbers[kind]}"


def _fetchable(spec: str, info: Mapping[str, Any], *, primary: bool) -> FetchableFile:
    meta = info.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    name = next((value for key in _NAME_KEYS if isinstance(value := info.get(key), str) and value), "")
    url, checksum = info.get("url"), info.get("checksum")
    file = File(
        spec=spec,
        name=name,
        kind=_kind(spec, info),
        primary=primary,
        width=_positive(meta.get("width"), _LARGEST_SIDE) or _positive(info.get("width"), _LARGEST_SIDE),
        height=_positive(meta.get("height"), _LARGEST_SIDE) or _positive(info.get("height"), _LARGEST_SIDE),
        size=_positive(info.get("size"), _LARGEST_SIZE),
        checksum=checksum if isinstance(checksum, str) else "",
        is_fetchable=isinstance(url, str) and bool(url),
    )
    return FetchableFile(file, url if isinstance(url, str) else "")


def _kind(spec: str, info: Mapping[str, Any]) -> str:
    kind = info.get("file_type")
    return kind if isinstance(kind, str) and kind else _KINDS.get(spec.split("_", 1)[0], "")


def _positive(value: Any, most: int) -> int | None:
    """A whole number from 1 to ``most``; anything else counts as not given."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= most else None


def _without_urls(value: Any, depth: int = 0) -> Any:
    """``value`` without URLs: they are signed, they expire, and they must not leak. What is too deep becomes null."""
    if depth > MAX_DEPTH and isinstance(value, dict | list):
        return None
    if isinstance(value, dict):
        return {
            key: _without_urls(inner, depth + 1)
            for key, inner in value.items()
            if not (key == "url" or str(key).endswith("_url")) and not is_url(inner)
        }
    if isinstance(value, list):
        return [_without_urls(inner, depth + 1) for inner in value if not is_url(inner)]
    return value
