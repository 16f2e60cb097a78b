"""Judge the answers of servers: which status means what, and what a message may quote of an answer."""

import contextlib
import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import aiohttp
import msgspec

from pipeline.errors import AccessRefused, BackendError, UrlExpired
from pipeline.synapse.http.tries import FailedTry
from pipeline.synapse.http.urls import redacted_url

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
EXPIRED_STATUSES = frozenset({400, 401, 403})


async def refuse_answer(response: aiohttp.ClientResponse, *, is_file: bool, secrets: Mapping[str, str]) -> NoReturn:
    """Raise the error that an answer with an unwanted status stands for.

    That is FailedTry if the same request may succeed later. ``secrets`` are the request's headers: they are removed
    from what the server says.
    """
    status = response.status
    where = redacted_url(response.url)
    if status in RETRIED_STATUSES:
        raise FailedTry(f"HTTP {status}", retry_after=_retry_after(response))
    if 300 <= status < 400:
        hint = "" if is_file else "; is SYNAPSE_HOST the address of the API itself?"
        raise BackendError(where, f"HTTP {status}", f"redirects are not followed{hint}")
    if is_file:
        if status in EXPIRED_STATUSES:
            raise UrlExpired(where, f"HTTP {status}")
        raise BackendError(where, f"HTTP {status}", "there is no such object" if status in (404, 410) else "")
    if status == 401:
        what_now = "set a new one and run again: SYNAPSE_ACCESS_TOKEN, or 'synapse login'"
        raise AccessRefused(where, "HTTP 401", f"the access token is no longer accepted; {what_now}")
    detail = await _read_detail(response, secrets)
    raise (AccessRefused if status == 403 else BackendError)(where, f"HTTP {status}", detail)


def range_start(response: aiohttp.ClientResponse) -> int | None:
    """Return the first byte of a partial answer, or None if it does not say."""
    # No file has a position of more than 18 digits, and Python refuses to read one of thousands.
    match = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def file_size(response: aiohttp.ClientResponse) -> int | None:
    """Return the size of the whole file that an answer is, or is a part of, or None if it does not say."""
    if response.status == 200:
        return response.content_length
    match = re.search(r"/([0-9]{1,18})$", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def describe_lost_answer(error: BaseException) -> str:
    """Describe a failed connection in one short line, without the URL, which may be signed."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "the server's certificate is not trusted (set REQUESTS_CA_BUNDLE for a private authority)"
        case aiohttp.ClientConnectorDNSError():
            return "the host name cannot be resolved"
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
            return f"cannot connect: {reason}"
        case TimeoutError():
            return "no complete answer in time"
        case aiohttp.ClientPayloadError() | EOFError():
            return "the answer was cut short"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the connection was lost"
        case _:
            return type(error).__name__


def server_message(body: Any, secrets: Mapping[str, str]) -> str:
    """Return what the server says about a refused request, on one short line, without URL queries and secrets."""
    if isinstance(body, dict):
        error = body.get("error")
        body = body.get("detail") or (error.get("message") if isinstance(error, dict) else None) or body
    try:
        text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    except (ValueError, OverflowError, RecursionError):  # nested too deep, or a number that no JSON holds
        return ""
    for secret in secrets.values():
        for word in secret.split():
            if len(word) > 7:
                text = text.replace(word, "***")
    return re.sub(r"\?\S*", "", " ".join(text.split()))[:200]


async def _read_detail(response: aiohttp.ClientResponse, secrets: Mapping[str, str]) -> str:
    if "json" not in response.headers.get("Content-Type", ""):
        return ""
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, RecursionError):
        return server_message(msgspec.json.decode(await response.content.read(10_000)), secrets)
    return ""


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError):
            return 0.0
