"""Wrappers of documents in rows: the document is inside the wrapper, or behind a URL in it."""

import msgspec

from pipeline.errors import UNREADABLE_JSON


class Wrapper(msgspec.Struct, gc=False):
    """The wrapper in a row in place of a document that is kept elsewhere, or around a document."""

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


_WRAPPER = msgspec.json.Decoder(Wrapper)
_INLINE = msgspec.json.Decoder(_Inline)
_LARGEST_WRAPPER = 4096


def wrapper_of(data: msgspec.Raw) -> Wrapper | None:
    """Return the wrapper if the document of ``data`` must be fetched (even if that is impossible), else None."""
    view = memoryview(data)
    if len(view) > _LARGEST_WRAPPER or b'"mode"' not in bytes(view):
        return None
    try:
        wrapper = _WRAPPER.decode(data)
    except UNREADABLE_JSON:
        return None
    if wrapper.mode == "presigned" or (wrapper.mode == "inline" and wrapper.truncated):
        return wrapper
    return None


def unwrapped(document: bytes) -> bytes:
    """Return the document inside an inline wrapper; else ``document``."""
    if b'"mode"' in document[:200] or b'"mode"' in document[-200:]:
        try:
            inline = _INLINE.decode(document)
        except UNREADABLE_JSON:
            return document
        if inline.mode == "inline" and not inline.truncated:
            return bytes(inline.data)
    return document
