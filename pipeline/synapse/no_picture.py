"""What comes as a picture and is none: an answer in words, zeros, or half of a file.

Only what is certain is refused. Pictures of kinds that nobody here reads (HEIC, JPEG 2000, TGA) pass unseen.
"""

import re
from collections.abc import Callable

from pipeline.images.files import Header

HEADER = 2**20
"""Bytes in which a header is looked for; one with a colour profile and a preview is smaller."""

START = 512
"""Bytes by which it is told what a file is."""

TAIL = 2**16
"""Bytes at the end of a file in which its end mark is looked for: programs write things behind it."""

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_READABLE = (b"\xff\xd8\xff", _PNG_START, b"GIF8")
_PAGE = (b"<!doctype html", b"<html")
_PICTURE_IN_WORDS = re.compile(rb"P[1-7]\s|#|/\*|%!")  # PNM, Radiance and XBM, XPM, PostScript
_WORDS = bytes({*range(32, 127), *b"\t\r\n"})


def reason_no_picture(start: bytes, tail: bytes, size: int, header: Header | None) -> str:
    """Return why a file of ``size`` bytes is no picture, or ``""``.

    ``start`` and ``tail`` are its first and its last bytes, ``header`` what was found in the first :data:`HEADER`.
    """
    if header is not None:
        return "the picture is cut off" if _is_cut(start, tail, size) else ""
    said = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for words, is_it in _OTHER_KINDS:
        if is_it(said):
            return f"{words} came instead of the picture"
    if size <= HEADER and start.startswith(_READABLE):
        return "the picture's header cannot be read"
    return ""


def _is_cut(start: bytes, tail: bytes, size: int) -> bool:
    if start.startswith(_PNG_START):
        return not tail.endswith(_PNG_END) and _PNG_END not in tail
    # RFC 9649, section 2.4: the size of all that follows.
    return start.startswith(b"RIFF") and int.from_bytes(start[4:8], "little") + 8 > size


def _is_text(said: bytes) -> bool:
    return not said.translate(None, _WORDS) and not _PICTURE_IN_WORDS.match(said)


_OTHER_KINDS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("a web page", lambda said: said.lower().startswith(_PAGE)),
    ("XML", lambda said: said.startswith((b"<?xml", b"<svg", b"<Error"))),
    ("JSON", lambda said: said.startswith((b"{", b"["))),
    ("a text", _is_text),
    ("nothing but zeros", lambda said: not said.strip(b"\0")),
)
