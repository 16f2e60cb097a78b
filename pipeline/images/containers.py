"""Sizes and orientations of pictures whose container has to be read, because Pillow would need the whole file.

Everything works on the first bytes of a file, and says so where they are not enough.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image

ORIENTATION_TAG = 0x0112
UPRIGHT = 1

# What irot (quarter turns against the clock) and imir (0 swaps top and bottom, 1 left and right) amount to together.
_TURNED = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
_ANY_BOX = 64  # boxes of one level; a picture has a dozen


def exif_orientation(exif: bytes) -> int:
    """Return the orientation of a block of EXIF; unknown values mean upright, as they do to viewers."""
    found = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata
        try:
            found.load(exif)
            value = found.get(ORIENTATION_TAG)
        except (OSError, SyntaxError, ValueError, struct.error):
            return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def webp_size(head: bytes) -> tuple[int, int, int] | None:
    """Return width, height and channels of a WebP (RFC 9649, section 2), or None."""
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF, 3
        case b"VP8L" if head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4 if bits >> 28 & 1 else 3
        case b"VP8X":
            width, height = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
            return width, height, 4 if head[20] & 0x10 else 3
    return None


def webp_orientation(head: bytes) -> int | None:
    """Return the orientation of a WebP; None when it has one that ``head`` does not reach: EXIF follows the pixels."""
    if head[12:16] != b"VP8X" or not head[20] & 0x08:
        return UPRIGHT
    position = 12
    while position + 8 <= len(head):
        length = int.from_bytes(head[position + 4 : position + 8], "little")
        if head[position : position + 4] == b"EXIF":
            block = head[position + 8 : position + 8 + length]
            return exif_orientation(block) if len(block) == length else None
        position += 8 + length + length % 2
    return UPRIGHT if len(head) >= riff_length(head) else None


def riff_length(head: bytes) -> int:
    """Return how many bytes a WebP says that it has."""
    return 8 + int.from_bytes(head[4:8], "little")


def late_orientation(tail: bytes) -> int | None:
    """Return the orientation that stands in the last bytes of a PNG or WebP, after the pixels; None for none.

    A block counts only if it is whole and ends where the file, or PNG's last chunk, says that it does.
    """
    position = tail.rfind(b"eXIf")
    if position >= 4:
        length = int.from_bytes(tail[position - 4 : position], "big")
        block = tail[position + 4 : position + 4 + length]
        checksum = tail[position + 4 + length : position + 8 + length]
        if len(block) == length and checksum == zlib.crc32(b"eXIf" + block).to_bytes(4, "big"):
            return exif_orientation(block)
    position = tail.rfind(b"EXIF")
    if position >= 0 and len(tail) >= position + 8:
        length = int.from_bytes(tail[position + 4 : position + 8], "little")
        block = tail[position + 8 : position + 8 + length]
        if len(block) == length and block[:6] in (b"Exif\0\0", *(mark + block[4:6] for mark in (b"II*\0", b"MM\0*"))):
            return exif_orientation(block)
    return None


def png_orientation(head: bytes) -> int | None:
    """Return the orientation of a PNG; None when ``head`` ends before it is known: ``eXIf`` can follow the pixels."""
    position = 8
    while position + 8 <= len(head):
        length, kind = int.from_bytes(head[position : position + 4], "big"), head[position + 4 : position + 8]
        if kind == b"eXIf":
            block = head[position + 8 : position + 8 + length]
            return exif_orientation(block) if len(block) == length else None
        if kind == b"IEND":
            return UPRIGHT
        position += 12 + length
    return None


def tiff_directory(head: bytes) -> int | None:
    """Return where the directory of the first picture of a TIFF begins, None for another file."""
    if head[:4] == b"MM\0*":
        return int.from_bytes(head[4:8], "big")
    if head[:4] == b"II*\0":
        return int.from_bytes(head[4:8], "little")
    if head[:4] == b"II+\0":  # BigTIFF, which Pillow reads in this byte order only
        return int.from_bytes(head[8:16], "little")
    return None


def is_heif(head: bytes) -> bool:
    """Tell whether a file begins as HEIF does (ISO/IEC 23008-12): AVIF and HEIC are kinds of it."""
    return head[4:8] == b"ftyp" and bool(_brands(head) & {b"avif", b"avis", b"heic", b"heix", b"heim", b"mif1"})


def is_avif(head: bytes) -> bool:
    """Tell whether a file begins as AVIF does."""
    return head[4:8] == b"ftyp" and bool(_brands(head) & {b"avif", b"avis"})


def _brands(head: bytes) -> set[bytes]:
    length = min(int.from_bytes(head[:4], "big"), 256)
    return {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}


def heif_size_and_orientation(head: bytes) -> tuple[int, int, int] | None:
    """Return width and height as stored, and the orientation, of the primary picture of an AVIF or HEIC; or None.

    The orientation is that of its properties ``irot`` and ``imir``: readers apply those, and not that of EXIF.
    """
    meta = next((body for kind, body in _boxes(head) if kind == b"meta"), None)
    if meta is None:
        return None
    boxes = dict(_boxes(meta[4:]))
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    if b"pitm" not in boxes or b"ipma" not in properties:
        return None
    listed = list(_boxes(properties.get(b"ipco", b"")))
    try:
        chosen = _properties_of(properties[b"ipma"], _primary(boxes[b"pitm"]))
        own = dict(listed[index - 1] for index in chosen if 0 < index <= len(listed))
        width, height = struct.unpack_from(">II", own[b"ispe"], 4)
        turn = own[b"irot"][0] & 3 if b"irot" in own else 0
        mirror = own[b"imir"][0] & 1 if b"imir" in own else None
    except (struct.error, KeyError, IndexError):
        return None
    return width, height, _TURNED[turn, mirror]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each box (ISO/IEC 14496-12, 4.2) that is there whole."""
    position = 0
    for _ in range(_ANY_BOX):
        if position + 8 > len(data):
            return
        length, begin = int.from_bytes(data[position : position + 4], "big"), position + 8
        if length == 1:
            length, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
        end = position + length if length else len(data)
        if end < begin or end > len(data):
            return
        yield data[position + 4 : position + 8], data[begin:end]
        position = end


def _primary(pitm: bytes) -> int:
    return int.from_bytes(pitm[4:6] if pitm[0] == 0 else pitm[4:8], "big")


def _properties_of(ipma: bytes, item: int) -> list[int]:
    """Return the numbers of an item's properties, counted from 1 (ISO/IEC 23008-12, 9.3.1)."""
    version, is_wide = ipma[0], ipma[3] & 1
    item_bytes, position = (2 if version < 1 else 4), 8
    for _ in range(int.from_bytes(ipma[4:8], "big")):
        number = int.from_bytes(ipma[position : position + item_bytes], "big")
        count, position = ipma[position + item_bytes], position + item_bytes + 1
        size = 2 if is_wide else 1
        entries = [ipma[at : at + size] for at in range(position, position + count * size, size)]
        if number == item:
            return [int.from_bytes(entry, "big") & (0x7FFF if is_wide else 0x7F) for entry in entries]
        position += count * size
    return []
