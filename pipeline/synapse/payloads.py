"""Documents that are kept outside their row: what makes a fetched one acceptable."""

import hashlib
from collections.abc import Callable

import msgspec

from pipeline.synapse.rows import Wrapper

_ANY = msgspec.json.Decoder(msgspec.Raw)


def checked(wrapper: Wrapper, corrupt: list[str]) -> Callable[[bytes], bytes]:
    """A function that returns a body as it is when it is what the wrapper promises, and raises ValueError when not.

    ``corrupt`` then has the reason as its last item; it is empty when the last body was right.
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
    except msgspec.DecodeError:
        return "the document is not JSON"
    except RecursionError:
        return ""  # nested too deep for this reader, but whole
    return ""


def compact(document: bytes) -> bytes:
    """A JSON document without white space; numbers, texts and order of keys stay as they are written."""
    try:
        return msgspec.json.format(document, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return document
