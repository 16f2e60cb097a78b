"""Carry out faults: delay, damage or refuse an answer."""

import asyncio
import socket
import struct
from typing import cast

from aiohttp import web

from pipeline.sandbox.faults import STATUS_KINDS, Fault

_HTML = "<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
_RETRY_AFTER = {429, 503}
_CLOUDFLARE = {403, 413, 502, 520, 524}


async def before_answer(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    """Carry out faults that need no answer; return None if the request must be handled first."""
    if fault.kind in STATUS_KINDS:
        return _status(int(fault.kind), fault, request)
    match fault.kind:
        case "reset":
            _abort(request, reset=True)
            return web.Response(status=500)
        case "hang":
            await asyncio.sleep(24 * 3600)
        case "slow":
            await asyncio.sleep(1.0 if fault.value is None else fault.value)
        case "html":
            return web.Response(text=_HTML.format(title="Sign in"), content_type="text/html")
        case "empty":
            return web.Response(body=b"", content_type="application/json")
        case "redirect":
            elsewhere = request.url.with_host("127.0.0.2")
            return web.Response(status=302, headers={"Location": str(elsewhere)})
    return None


async def after_answer(request: web.Request, response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    """Damage a finished answer and return it."""
    body = cast("bytes", response.body or b"") if isinstance(response, web.Response) else b""
    match fault.kind:
        case "badjson":
            return _copy(response, body[: len(body) // 2])
        case "corrupt":
            middle = len(body) // 2
            while middle and not chr(body[middle]).isdigit():
                middle -= 1
            changed = ((body[middle] - 47) % 10 + 48) if body else 0
            return _copy(response, body[:middle] + bytes([changed]) + body[middle + 1 :])
        case "cut":
            return await _stream(request, response, body, share=0.5 if fault.value is None else fault.value)
        case "drip":
            return await _stream(request, response, body, pause=1.0 if fault.value is None else fault.value)
    return response


def _status(status: int, fault: Fault, request: web.Request) -> web.Response:
    if request.path.startswith("/blobs/"):
        xml = f"<Error><Code>Injected{status}</Code></Error>"
        response = web.Response(status=status, text=xml, content_type="application/xml")
    elif status in _CLOUDFLARE:
        response = web.Response(status=status, text=_HTML.format(title=status), content_type="text/html")
    else:
        response = web.json_response({"detail": f"Injected {status}."}, status=status)
    if status in _RETRY_AFTER and fault.value is not None:
        response.headers["Retry-After"] = f"{fault.value:g}"
    return response


def _copy(response: web.StreamResponse, body: bytes) -> web.Response:
    return web.Response(status=response.status, body=body, content_type=response.content_type)


async def _stream(
    request: web.Request, response: web.StreamResponse, body: bytes, *, share: float = 1.0, pause: float = 0.0
) -> web.StreamResponse:
    stream = web.StreamResponse(status=response.status)
    stream.content_type = response.content_type
    stream.content_length = len(body)
    await stream.prepare(request)
    if pause:
        for position in range(len(body)):
            await stream.write(body[position : position + 1])
            await asyncio.sleep(pause)
    elif body:
        await stream.write(body[: min(int(len(body) * share), len(body) - 1)])
        await asyncio.sleep(0.01)
        _abort(request, reset=False)
    return stream


def _abort(request: web.Request, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if reset and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort() if reset else transport.close()
