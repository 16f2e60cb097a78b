"""Return freed memory to the machine, so that a worker takes what it holds, not the most it ever held."""

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGE = 4 * 2**20
_KEPT = 32 * 2**20


@functools.cache
def give_back_memory() -> None:
    """Return blocks of 4 MB and more to the machine as soon as they are freed. Acts once per process.

    glibc raises that limit to 32 MB as it goes, and then keeps holes between large documents for ever (mallopt(3)).
    Once told, it also gives back the end of the heap whenever 128 kB there are free, which page after page costs a
    tenth of a run; 32 MB stay. Where there is no such call (macOS, musl), nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
