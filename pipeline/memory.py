"""Memory that is freed goes back to the machine: a worker is what it holds, not what it once held."""

import ctypes
import functools

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_LARGE = 4 * 2**20


@functools.cache
def give_back_memory() -> None:
    """From now on, blocks of 4 MB and more are returned when they are freed, each by itself; once per process.

    glibc raises that limit to 32 MB as it goes, and then keeps holes between large documents for ever (mallopt(3)).
    Where there is no such call (macOS, musl), nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
