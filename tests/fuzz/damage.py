"""Damage to bytes: small pure functions of a ``random.Random`` and the bytes."""

import gzip
import zlib

from synapse.local_api import picture


def flipped(dice, data):
    """One to nine bits differ."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 9)) if data else 0):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def early_flipped(dice, data):
    """A byte of the first hundred is another one."""
    changed = bytearray(data)
    if data:
        changed[dice.randrange(min(100, len(changed)))] = dice.randrange(256)
    return bytes(changed)


def cut(dice, data):
    """The end is missing."""
    return data[: dice.randrange(len(data))] if data else data


def beheaded(dice, data):
    """The beginning is missing."""
    return data[dice.randrange(1, len(data) + 1) :] if data else data


def doubled(dice, data):
    """The bytes come twice."""
    return data + data


def longer(dice, data):
    """Something follows the end."""
    return data + dice.choice((b"\0", b"\n\n", b"]", b"}", b"{}", b"\xff\xd8\xff", b"x" * 5000))


def emptied(dice, data):
    """Nothing is left."""
    return b""


def zeroed(dice, data):
    """Zeros from somewhere on, as after a machine lost power."""
    start = dice.randrange(len(data) + 1)
    return data[:start] + bytes(len(data) - start)


def shifted(dice, data):
    """A part is left out, or comes again."""
    here, there = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    return data[:here] + data[there:] if dice.random() < 0.5 else data[:there] + data[here:]


def noise(dice, data):
    """Bytes of no kind."""
    return dice.randbytes(dice.choice((1, 100, 5000)))


def replaced(dice, data):
    """Something else came instead."""
    return dice.choice((
        b"null", b"[]", b"{}", b"0", b'"x"', b"NaN", b"true", b'{"detail":"Not found."}',
        b"<!DOCTYPE html><html></html>",
        b"<Error><Code>AccessDenied</Code></Error>", b"Permission denied", b"[" * 50_000, b'{"results":' * 2000,
        b"\xef\xbb\xbf{}",
        bytes(3000), b"%PDF-1.7\n", b"PK\x03\x04" + bytes(60), picture((40, 30), "PNG"), picture((40, 30), "GIF"),
        picture((40, 30), "WEBP"), picture((40, 30), "TIFF"), picture((9, 9), "BMP"),
    ))  # fmt: skip


def with_mark(dice, data):
    """A byte order mark comes first."""
    return b"\xef\xbb\xbf" + data


def packed(dice, data):
    """The bytes are gzip although nobody says so."""
    return gzip.compress(data, mtime=0)


def deflated(dice, data):
    """The bytes are deflate although nobody says so."""
    return zlib.compress(data)


DAMAGES = (
    flipped, flipped, early_flipped, cut, beheaded, doubled, longer, emptied, zeroed, shifted, noise, replaced,
    replaced,
    with_mark, packed, deflated,
)  # fmt: skip


def damaged(dice, data):
    """The bytes with one damage, and its name."""
    way = dice.choice(DAMAGES)
    return way(dice, data), way.__name__
