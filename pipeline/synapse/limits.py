"""The sizes by which a source of records divides its work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceLimits:
    """Sizes in bytes, except ``page`` and ``rows_per_walk`` (rows) and ``pages_per_batch``."""

    page: int = 1000
    """Most rows that the API returns in one page."""
    rows_per_walk: int = 2000
    """A plan lists a stretch of about so many rows after the other, and several stretches at once."""
    pages_per_batch: int = 2000
    """Most pages that are read for one batch of records. It takes one, and a few where other rows lie between."""
    shared_page: int = 128 * 2**20
    """Largest page of several rows; if rows are larger, fewer are requested at a time."""
    whole_file: int = 8 * 2**20
    """Largest original that is written whole; larger ones are streamed."""
    stream_chunk: int = 2**20
    """Bytes of a streamed original that are written at a time."""
    largest_original: int = 16 * 2**30
    """Largest original that is copied: a server may send bytes without end."""
    baked_picture: int = 256 * 2**20
    """Largest picture that is turned upright, because it has to be in memory."""


DEFAULT_LIMITS = SourceLimits()
