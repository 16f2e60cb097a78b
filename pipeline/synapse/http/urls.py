"""Addresses and error messages: which addresses may be asked, and what may be said about them."""

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from pipeline.errors import BackendError

_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def is_clean(address: str) -> bool:
    """Whether an address can go into a request line as it is."""
    return address.isascii() and not _CONTROL.search(address)


def parse_address(address: str) -> URL:
    """A whole URL, byte for byte when it is properly quoted (its signature covers that). Raises BackendError."""
    address = address.strip()
    try:
        url = URL(address, encoded=is_clean(address))
        _ = url.raw_host, url.port  # found out only now that they are none
    except ValueError:
        # Not "from error": that one would carry the query.
        raise BackendError(shown(address), "is no address") from None
    return url


def shown(address: str | URL) -> str:
    """What a message may show of an address: scheme, host and path."""
    text = str(address).split("?", 1)[0].split("#", 1)[0]
    scheme, separator, rest = text.rpartition("://")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{separator}{authority.rpartition('@')[2] if separator else authority}{slash}{path}"
    return re.sub(r"[^\x20-\x7e]", "?", text)[:300]


def describe(error: BaseException) -> str:
    """One short line about a failed connection, without the address (which may be signed)."""
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
    """What the server says about a refused request, on one short line, without addresses' queries and secrets."""
    if isinstance(body, dict):
        error = body.get("error")
        body = body.get("detail") or (error.get("message") if isinstance(error, dict) else None) or body
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    for secret in secrets.values():
        for word in secret.split():
            if len(word) > 7:
                text = text.replace(word, "***")
    return re.sub(r"\?\S*", "", " ".join(text.split()))[:200]
