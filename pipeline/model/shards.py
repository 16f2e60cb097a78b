"""A shard: the exact records one task works on, small enough to be a task argument.

Membership is frozen when the plan is made. A shard knows every key it must produce, so a record that vanished
later is noticed and a record that appeared later is left out, whatever happens to the listing in between.
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np


class Shard(msgspec.Struct, frozen=True):
    """A contiguous slice of the target's records, in ascending key order.

    ``keys`` are the packed record keys (:func:`unpack_keys`): ``id``, or ``pgh_id`` for ground truth. ``models`` are
    the ground truth's own ids, aligned with ``keys`` (they may repeat), empty for the other targets. ``cursors`` are
    page addresses that list exactly this slice, only for listings that have neither range nor id filters.
    """

    index: int
    count: int
    keys: bytes
    models: bytes = b""
    cursors: tuple[str, ...] = ()


def pack_keys(keys: "Sequence[int] | np.ndarray") -> bytes:
    """Pack integers as compressed differences: about a byte each for the dense keys of a database table."""
    import numpy as np  # noqa: PLC0415  `status` reads no keys, and numpy costs more than all else of it

    array = np.asarray(keys, dtype="<i8")
    return zlib.compress(np.diff(array, prepend=np.int64(0)).tobytes(), level=6)


def unpack_keys(packed: bytes) -> "np.ndarray":
    """Return the int64 array that :func:`pack_keys` packed; empty for ``b""``."""
    import numpy as np  # noqa: PLC0415  as above

    if not packed:
        return np.empty(0, dtype="<i8")
    return np.cumsum(np.frombuffer(zlib.decompress(packed), dtype="<i8"))
