"""Members of tar files as bytes, so that archives can be joined from parts: header, content, padding."""

import tarfile

BLOCK_BYTES = 512
ARCHIVE_END = bytes(2 * BLOCK_BYTES)
"""Two blocks of zeros end an archive (POSIX.1, "ustar Interchange Format")."""


def make_plain_header(name: str, size: int) -> bytes:
    """Return a ustar header: time 0, owner 0, mode 0644.

    Raises ValueError from 8 GiB, which it cannot express, and for names that are not ASCII or too long.
    """
    return _make_member(name, size).tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def make_header(name: str, size: int) -> bytes:
    """Return a header for any path and size, after an extended one (POSIX.1-2001, "pax") where ustar is too small."""
    return _make_member(name, size).tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def make_padding(size: int) -> bytes:
    """Return the zeros that fill a member of ``size`` bytes up to whole blocks."""
    return bytes(-size % BLOCK_BYTES)


def _make_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member
