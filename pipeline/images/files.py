"""Picture files: their headers, and the few changes that an export makes to them.

Sizes are ``(width, height)`` in pixels. EXIF's *orientation* (CIPA DC-008, tag 0x0112) is a number from 1 (upright) to
8; for readers that follow it, 5 to 8 swap width and height.
"""

import io
import struct
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF")
_ORIENTATION = 0x0112
_UPRIGHT = 1
_JPEG_QUALITY = 95
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

MAX_DECODED = 1 << 28
"""A picture with more pixels (16,384 x 16,384) is refused before it is decoded."""

Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard warns through a filter that threads share; ours is above


class PictureError(ValueError):
    """Bytes that cannot be decoded or encoded as a picture. The message shows nothing of their content."""


class Header(NamedTuple):
    """The header of a picture: its size as stored, and how a viewer turns it to show it upright."""

    width: int
    height: int
    orientation: int = _UPRIGHT

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a viewer shows it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(head: bytes) -> Header | None:
    """Return the header of the picture that begins with ``head``, or None; decode nothing.

    The orientation of WebP is not read, because it comes after the pixels.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_header(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata
        try:
            with Image.open(io.BytesIO(head), formats=_FORMATS) as image:
                width, height = image.size
                orientation = _orientation(image)
        except (OSError, SyntaxError, ValueError, struct.error):
            return None
    return Header(width, height, orientation) if width > 0 and height > 0 else None


def is_unterminated(head: bytes, tail: bytes) -> bool:
    """Tell whether this is a JPEG without its end marker.

    Ultralytics rewrites such a file in place, which changes its digest.
    """
    return head.startswith(_JPEG_START) and not tail.endswith(_JPEG_END)


def turn_upright(data: bytes) -> bytes:
    """Return the picture turned as its orientation says, re-encoded in its own format, without the orientation.

    Raises PictureError.
    """
    with _DecodedPicture(data) as image:
        turned = ImageOps.exif_transpose(image)
        return _encode(turned, image.format or "PNG", image, quality=_JPEG_QUALITY)


def drop_orientation(data: bytes) -> bytes:
    """Return the picture with its pixels as stored and without the orientation; a JPEG keeps its quantisation.

    Raises PictureError.
    """
    with _DecodedPicture(data) as image:
        image.getexif().pop(_ORIENTATION, None)
        return _encode(image, image.format or "PNG", image, quality="keep")


def encode_jpeg(data: bytes) -> bytes:
    """Return the picture as an RGB JPEG; transparency becomes white. Raises PictureError."""
    with _DecodedPicture(data) as image:
        if image.has_transparency_data:
            layers = image.convert("RGBA")
            opaque = Image.new("RGBA", layers.size, "white")
            opaque.alpha_composite(layers)
            return _encode(opaque.convert("RGB"), "JPEG", image, quality=_JPEG_QUALITY)
        return _encode(image.convert("RGB"), "JPEG", image, quality=_JPEG_QUALITY)


def encode_indexed_png(indices: npt.NDArray[np.uint8], palette: bytes) -> bytes:
    """Return a PNG of palette indices, shape (height, width).

    ``palette`` has 768 bytes: red, green and blue of each index.
    """
    height, width = indices.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(indices).tobytes())
    image.putpalette(palette)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


class _DecodedPicture:
    """Opens and decodes a picture; errors become PictureErrors, also those inside the ``with`` block."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._image: Image.Image | None = None

    def __enter__(self) -> Image.Image:
        try:
            self._image = Image.open(io.BytesIO(self._data))
            if self._image.width * self._image.height > MAX_DECODED:
                raise PictureError(f"the picture has more than {MAX_DECODED:,} pixels")
            self._image.load()
        except (OSError, SyntaxError, struct.error) as error:
            raise PictureError(f"the picture cannot be decoded ({type(error).__name__})") from error
        return self._image

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._image is not None:
            self._image.close()
        if isinstance(error, OSError):
            raise PictureError(f"the picture cannot be encoded ({type(error).__name__})") from error


def _encode(image: Image.Image, form: str, source: Image.Image, *, quality: int | str) -> bytes:
    options: dict[str, Any] = {}
    if profile := source.info.get("icc_profile"):
        options["icc_profile"] = profile
    exif = image.getexif()
    if len(exif):
        options["exif"] = exif.tobytes()
    if form in ("JPEG", "MPO"):
        form = "JPEG"  # phones write several pictures into one file; the first is the annotated one
        options["quality"] = quality if quality != "keep" or source.format == "JPEG" else _JPEG_QUALITY
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _orientation(image: Image.Image) -> int:
    """Return the orientation found in the bytes read so far; unknown values mean upright, as they do to viewers."""
    raw = image.info.get("exif")
    if image.format == "TIFF" or not raw:  # Pillow itself turns a TIFF, and so do programs that read TIFF
        return _UPRIGHT
    exif = Image.Exif()
    exif.load(raw)
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT


def _webp_header(head: bytes) -> Header | None:
    """Read the container's first chunk (RFC 9649, section 2), because Pillow needs the whole file."""
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", head, 26)
            return Header(width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            return Header(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    return None
