"""Check and normalise documents that are stored outside their row."""

import hashlib
import json
import re
from collections.abc import Callable

import msgspec

from pipeline.errors import UNREADABLE_JSON
from pipeline.synapse.listing.wrappers import Wrapper

# Every escape, so that the second half of an escaped backslash is never taken for the start of one; pairs as one.
_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.")
_ANY = msgspec.json.Decoder(msgspec.Raw)


def checked(wrapper: Wrapper, corrupt: list[str]) -> Callable[[bytes], bytes]:
    """Return a function that checks a body against the wrapper: it returns the body, or raises ValueError.

    The function appends its reason to ``corrupt``, and empties that list when a body is right.
    """

    def check(body: bytes) -> bytes:
        corrupt.clear()
        problem = _difference(wrapper, body)
        if problem:
            corrupt.append(problem)
            raise ValueError(problem)
        return body

    return check


def _difference(wrapper: Wrapper, body: bytes) -> str:
    if wrapper.size is not None and wrapper.size != len(body):
        return f"the document has {len(body):,} bytes, the API says {wrapper.size:,}"
    if wrapper.data_digest:
        if hashlib.sha256(body).hexdigest() != wrapper.data_digest.lower().removeprefix("sha256:"):
            return "the document is not the one whose SHA-256 the API gives"
        return ""
    try:
        _ANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "the document is not JSON"
    except RecursionError:
        return ""  # nested too deep for this reader, but whole
    return ""


def compact(document: bytes) -> bytes:
    """Return a JSON document without white space, texts in UTF-8; numbers and the order of keys do not change.

    The API writes a document one way in a row and another way behind a URL: both must give the same bytes.
    """
    try:
        formatted = msgspec.json.format(document, indent=-1)
    except UNREADABLE_JSON:
        return document
    return _ESCAPE.sub(_unescape, formatted) if b"\\u" in formatted else formatted


def _unescape(match: re.Match[bytes]) -> bytes:
    """Return the character of an escape if JSON does not need the escape: outside ASCII, and not half of a pair."""
    text: str = json.loads(b'"%b"' % match[0])
    return match[0] if len(text) != 1 or text.isascii() or "\ud800" <= text <= "\udfff" else text.encode()
