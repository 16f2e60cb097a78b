"""Render rows as bytes, once, split where signed URLs go, so that a page is a join."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.sandbox.data import DATASET, OTHER_DATASET, OTHER_PROJECT, Facts, SandboxData
from pipeline.sandbox.options import Target
from pipeline.sandbox.records import OriginalFile, Record

_DATA = "@sandbox-data@"
_SPLIT = re.compile(r'"@sandbox-data@"|@sandbox-url:([^@]+)@')
_CACHED_ROWS = 200_000


class UrlSlot(NamedTuple):
    """The place of the signed URL of an object."""

    key: str


type Piece = bytes | UrlSlot


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks presigned URLs of the object store; they stay valid after a restart with the same seed."""

    secret: bytes

    def url(self, origin: str, key: str, expires: int) -> str:
        """Return the URL of ``key``, valid until ``expires`` (milliseconds since 1970)."""
        return f"{origin}/blobs/{key}?X-Exp={expires}&X-Sig={self.signature(key, expires)}"

    def signature(self, key: str, expires: int) -> str:
        """Return the HMAC-SHA256 of key and expiry in hexadecimal."""
        return hmac.digest(self.secret, f"{key}\n{expires}".encode(), "sha256").hex()

    def verdict(self, key: str, expires: str, signature: str) -> str:
        """Return why the store refuses the URL (an S3 error code), or ``""`` if it serves it."""
        if not expires.isdigit() or not hmac.compare_digest(self.signature(key, int(expires)), signature):
            return "SignatureDoesNotMatch"
        return "AccessDenied" if time.time() * 1000 > int(expires) else ""


class Rows:
    """Renders the rows of a sandbox."""

    def __init__(self, data: SandboxData, signer: Signer) -> None:
        self._data = data
        self._signer = signer
        self._pieces: dict[tuple[Target, int, bool, bool], tuple[Piece, ...]] = {}
        self._digests: dict[int, tuple[int, str]] = {}

    def forget(self) -> None:
        """Discard what was rendered before documents changed."""
        self._pieces.clear()
        self._digests.clear()

    def page(
        self, target: Target, indexes: Iterable[int], *, origin: str, expanded: bool, presigned: bool
    ) -> list[bytes]:
        """Return the bytes of rows, separated by commas, to be joined. URLs are signed now."""
        expires = round((time.time() + self._data.options.url_ttl) * 1000)
        signed: dict[str, bytes] = {}
        parts: list[bytes] = []
        for index in indexes:
            if parts:
                parts.append(b",")
            for piece in self.pieces(target, index, expanded=expanded, presigned=presigned):
                if type(piece) is bytes:
                    parts.append(piece)
                    continue
                key = piece.key  # type: ignore[union-attr]
                if key not in signed:
                    signed[key] = self._signer.url(origin, key, expires).encode()
                parts.append(signed[key])
        return parts

    def signed(self, pieces: Iterable[Piece], origin: str) -> list[bytes]:
        """Return the pieces with their URLs signed now."""
        expires = round((time.time() + self._data.options.url_ttl) * 1000)
        return [
            piece if isinstance(piece, bytes) else self._signer.url(origin, piece.key, expires).encode()
            for piece in pieces
        ]

    def pieces(self, target: Target, index: int, *, expanded: bool, presigned: bool) -> tuple[Piece, ...]:
        """Return one row, rendered at the first call."""
        presigned = presigned and self._data.options.payload != "raw"
        address = (target, index, expanded, presigned)
        found = self._pieces.get(address)
        if found is None:
            if len(self._pieces) >= _CACHED_ROWS:
                self._pieces.clear()
            row = self.row(target, index, expanded=expanded)
            found = self._pieces[address] = self.render(index, row, presigned=presigned)
        return found

    def render(self, index: int, row: dict[str, Any], *, presigned: bool) -> tuple[Piece, ...]:
        """Return a JSON object of a row as pieces, its document and URLs in place of their markers."""
        if row.get("data") == _DATA and (wrapper := self._wrapper(index, presigned=presigned)) is not None:
            row = {**row, "data": wrapper}
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        pieces: list[Piece] = []
        position = 0
        for match in _SPLIT.finditer(text):
            pieces.append(text[position : match.start()].encode())
            if match[1]:
                pieces.append(UrlSlot(match[1]))
            else:
                pieces.extend(self._data.inline(index))
            position = match.end()
        pieces.append(text[position:].encode())
        return tuple(pieces)

    def _wrapper(self, index: int, *, presigned: bool) -> dict[str, Any] | None:
        mode = self._data.options.payload
        record = self._data.record(index)
        if mode == "raw" or not presigned or record.document in (None, {}):
            return None
        form = (
            "presigned" if mode == "presigned" else ("raw", "raw", "raw", "presigned", "truncated", "inline")[index % 6]
        )
        if record.payload_fault == "truncated_without_url":
            return {"mode": "inline", "truncated": True}
        if form == "raw" and not record.payload_fault:
            return None
        if form == "inline" and not record.payload_fault:
            return {"mode": "inline", "data": _DATA}
        url = f"@sandbox-url:payloads/{index:08d}.json@"
        if form == "truncated" and not record.payload_fault:
            return {"mode": "inline", "truncated": True, "presigned_url": url}
        size, digest = self.digest(index)
        if record.payload_fault == "wrong_size":
            size += 1
        if record.payload_fault == "wrong_digest":
            digest = hashlib.sha256(digest.encode()).hexdigest()
        return {"mode": "presigned", "presigned_url": url, "size": size, "data_digest": digest}

    def digest(self, index: int) -> tuple[int, str]:
        """Return the size in bytes and the SHA-256 of a document as the object store holds it."""
        if index not in self._digests:
            blob = self._data.blob(index)
            self._digests[index] = len(blob), hashlib.sha256(blob).hexdigest()
        return self._digests[index]

    def row(self, target: Target, index: int, *, expanded: bool) -> dict[str, Any]:
        """Return a row as a JSON object, with markers for its document and URLs."""
        record, facts = self._data.record(index), self._data.facts(index)
        key, unit = self._data.keys[target][index], 5000 + index
        stem = record.files[0].info.get("file_name_original", "") if record.files else ""
        meta = {
            "origin_file_stem": str(stem).rpartition(".")[0],
            "category": "dash",
            "video": f"drive_{index // 5:03d}",
        }
        match target:
            case "task":
                data_unit: Any = {"id": unit, "meta": meta, **_files_field(record)} if expanded else unit
                return {
                    "id": key,
                    "project": facts.project,
                    "is_discarded": facts.discarded,
                    "schema": record.schema,
                    "tags": list(facts.tags),
                    "created": facts.created,
                    "data": _DATA,
                    "data_unit": data_unit,
                }
            case "assignment":
                return self._assignment(record, facts, key, {"id": unit, "meta": meta})
            case _:
                files = _files_field(record)
                return {
                    "id": facts.ground_truth_id,
                    "pgh_id": key,
                    "pgh_obj_id": facts.ground_truth_id,
                    "pgh_label": "insert",
                    "category": facts.category,
                    "ground_truth_dataset": OTHER_DATASET if facts.project == OTHER_PROJECT else DATASET,
                    "task": self._data.keys["task"][index],
                    "data": _DATA,
                    "data_unit": {"id": unit, **files},
                    **files,
                }

    def _assignment(self, record: Record, facts: Facts, key: int, data_unit: dict[str, Any]) -> dict[str, Any]:
        paths = {file.spec: {"path_original": file.info.get("path_original")} for file in record.files or ()}
        row = {
            "id": key,
            "task": {"id": self._data.keys["task"][record.index], "tags": list(facts.task_tags)},
            "project": facts.project,
            "user": facts.user,
            "reviewer": facts.reviewer,
            "status_label": facts.status_label,
            "status_review": facts.status_review,
            "is_confirmed": facts.confirmed,
            "is_discarded": facts.discarded,
            "tags": list(facts.tags),
            "created": facts.created,
            "last_labeled": facts.last_labeled,
            "data": _DATA,
        }
        if not record.files_absent:
            row["file"] = primary_file(record)
        row["data_unit"] = {**data_unit, "files": paths}
        return row

    def slim(self, target: Target, index: int, variant: str) -> dict[str, Any]:
        """Return a row of the ``data/`` or ``files/`` variant; ground truth lists its files, the others name them."""
        row = self.row(target, index, expanded=True)
        if variant == "data":
            return {"id": row["id"], "data": row["data"]}
        if target == "assignment":
            return {"id": row["id"], "file": row.get("file")}
        files = (row["data_unit"] if target == "task" else row).get("files")
        if target == "ground_truth":
            named = [{"file_specification": spec, **info} for spec, info in (files or {}).items()]
            return {"id": row["id"], "files": named}
        return {"id": row["id"], "files": files}


def _files_field(record: Record) -> dict[str, Any]:
    if record.files_absent:
        return {}
    if record.files is None:
        return {"files": None}
    return {"files": {file.spec: _file_info(record, file) for file in record.files}}


def primary_file(record: Record) -> dict[str, Any] | None:
    """Return the only file of an assignment: the first primary one, else the first, or None."""
    files: Sequence[OriginalFile] = record.files or ()
    chosen = next((file for file in files if file.info.get("is_primary")), files[0] if files else None)
    return _file_info(record, chosen) if chosen else None


def _file_info(record: Record, file: OriginalFile) -> dict[str, Any]:
    key = f"files/{record.index:08d}/{file.spec}.{file.extension}"
    match file.url:
        case "signed":
            return {"url": f"@sandbox-url:{key}@", **file.info}
        case "media":
            return {"url": f"/media/{key}", **file.info}
        case "null":
            return {"url": None, **file.info}
        case _:
            return dict(file.info)
