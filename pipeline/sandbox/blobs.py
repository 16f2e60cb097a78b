"""The object store: signed URLs without Synapse authentication, and scheme-less ``/media/`` paths."""

import asyncio
import hashlib
import re
from collections import OrderedDict

from aiohttp import web

from pipeline.sandbox.data import SandboxData
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.pictures import bench_picture, picture_bytes
from pipeline.sandbox.rows import Signer

_CACHED_BYTES = 16 * 2**20
_PAYLOAD = re.compile(r"payloads/(\d{8})\.json")
_FILE = re.compile(r"files/(\d{8})/([^/]+)\.(\w+)")
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "json": "application/json", "mp4": "video/mp4"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Blobs:
    """Serves payloads and originals. Pictures are drawn when asked for; the last few stay in memory."""

    def __init__(self, options: SandboxOptions, data: SandboxData, signer: Signer) -> None:
        self._options = options
        self._data = data
        self._signer = signer
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0

    async def signed(self, request: web.Request) -> web.StreamResponse:
        """Answer for an object behind a presigned URL: 403 with S3's XML if the signature is wrong or has expired."""
        key = request.match_info["key"]
        code = self._signer.verdict(key, request.query.get("X-Exp", ""), request.query.get("X-Sig", ""))
        if code:
            return _refusal(403, code)
        return await self._serve(request, key)

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Answer for an original behind a path of the API's own host, without signature or token."""
        return await self._serve(request, request.match_info["key"])

    async def content(self, key: str) -> bytes | None:
        """Return the bytes of an object, or None if it does not exist."""
        if payload := _PAYLOAD.fullmatch(key):
            index = int(payload[1])
            if index >= len(self._data) or self._data.record(index).payload_fault == "gone":
                return None
            return self._data.blob(index)
        if not (match := _FILE.fullmatch(key)) or int(match[1]) >= len(self._data):
            return None
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if self._options.profile == "bench":
            return bench_picture()
        indexes = dict.fromkeys((self._pictured(int(match[1])), int(match[1])))
        files = [file for index in indexes for file in self._data.record(index).files or ()]
        file = next((file for file in files if (file.spec, file.extension) == (match[2], match[3])), None)
        if file is None:
            return None
        content = await asyncio.to_thread(picture_bytes, file)
        self._remember(key, content)
        return content

    def _pictured(self, index: int) -> int:
        """Return the record whose pictures a record shows: another one for copies."""
        step = self._options.copied
        return index - step // 2 if step and index and index % step == 0 else index

    def _remember(self, key: str, content: bytes) -> None:
        if key in self._cache:
            return
        self._cache[key] = content
        self._cached += len(content)
        while self._cached > _CACHED_BYTES:
            self._cached -= len(self._cache.popitem(last=False)[1])

    async def _serve(self, request: web.Request, key: str) -> web.StreamResponse:
        if self._options.blob_latency:
            await asyncio.sleep(self._options.blob_latency)
        content = await self.content(key)
        if content is None:
            return _refusal(404, "NoSuchKey")
        kind = _TYPES.get(key.rpartition(".")[2], "application/octet-stream")
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'}
        wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
        if wanted is None or wanted[0] == "bytes=-":
            return web.Response(body=content, content_type=kind, headers=headers)
        start, end = _span(wanted[1], wanted[2], len(content))
        if start >= end:
            headers["Content-Range"] = f"bytes */{len(content)}"
            return web.Response(status=416, headers=headers)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return web.Response(status=206, body=content[start:end], content_type=kind, headers=headers)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _refusal(status: int, code: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")
