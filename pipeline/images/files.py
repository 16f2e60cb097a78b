"""Picture files: their headers, and the few changes that an export makes to them.

Sizes are ``(width, height)`` in pixels. EXIF's *orientation* (CIPA DC-008, tag 0x0112) is a number from 1 (upright) to
8; for readers that follow it, 5 to 8 swap width and height.
"""

import io
import struct
import warnings
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.images.containers import (
    ORIENTATION_TAG,
    UPRIGHT,
    exif_orientation,
    heif_size_and_orientation,
    is_avif,
    is_heif,
    late_orientation,
    png_orientation,
    tiff_directory,
    webp_orientation,
    webp_size,
)
from pipeline.images.known_parts import KnownParts

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "JPEG2000")
_JPEG_QUALITY = 95
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

MAX_DECODED = 1 << 28
"""A picture with more pixels (16,384 x 16,384) is refused before it is decoded."""

Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard warns through a filter that threads share; ours is above


class PictureError(ValueError):
    """Bytes that cannot be decoded or encoded as a picture. The message shows nothing of their content."""


_SUFFIXES = {
    "AVIF": ".avif", "BMP": ".bmp", "GIF": ".gif", "HEIF": ".heic", "JPEG": ".jpg", "JPEG2000": ".jp2", "PNG": ".png",
    "TIFF": ".tif", "WEBP": ".webp",
}  # fmt: skip
_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "F": 1, "LA": 2, "RGBA": 4, "CMYK": 4}
# How upright pixels become those that are stored, for the orientation that made them upright.
_UNTURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


class Header(NamedTuple):
    """The header of a picture: its size as stored, and how a viewer turns it to show it upright.

    ``orientation`` is None when the picture has one, or a PNG may have one, in bytes that were not read. ``form`` is
    the file format as Pillow names it (``HEIF`` for HEIC), ``channels`` the number of values of a decoded pixel.
    """

    width: int
    height: int
    orientation: int | None = UPRIGHT
    form: str = ""
    channels: int = 3

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a viewer shows it."""
        return (self.height, self.width) if (self.orientation or UPRIGHT) >= 5 else (self.width, self.height)

    @property
    def suffix(self) -> str:
        """The suffix of a file name that readers know the format by, with its dot."""
        return _SUFFIXES.get(self.form, "")


def read_header(head: bytes) -> Header | None:
    """Return the header of the picture that begins with ``head``, or None; decode nothing."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = webp_size(head)
        return size and Header(*size[:2], webp_orientation(head), "WEBP", size[2])
    if is_heif(head):
        found = heif_size_and_orientation(head)
        if found is None or not (found[0] and found[1]):
            return None
        return Header(*found, "AVIF" if is_avif(head) else "HEIF")
    return _opened(io.BytesIO(head), head)


def complete_header(header: Header | None, head: bytes, part: bytes, start: int) -> Header | None:
    """Return a header with what stands in another part of the file, which begins at ``start``.

    ``header`` is what :func:`read_header` found in ``head``. A PNG and a WebP may have their orientation in their last
    bytes, a TIFF its whole header anywhere.
    """
    if header is None and tiff_directory(head) is not None:
        return _opened(io.BufferedReader(KnownParts(head, part, start)), head)
    if header is None or header.orientation is not None:
        return header
    # A WebP said that it has an orientation; a PNG has none if its end is seen and none stands there.
    otherwise = UPRIGHT if header.form == "PNG" and b"IEND" in part else None
    return header._replace(orientation=late_orientation(part) or otherwise)


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
        turned = ImageOps.exif_transpose(image)  # Pillow has turned a TIFF already
        return _encode(turned, image.format or "PNG", image, quality=_JPEG_QUALITY)


def drop_orientation(data: bytes) -> bytes:
    """Return the picture with its pixels as stored and without the orientation; a JPEG keeps its quantisation.

    Raises PictureError.
    """
    header = read_header(data)
    with _DecodedPicture(data) as image:
        image.getexif().pop(ORIENTATION_TAG, None)
        if image.format == "TIFF" and header and header.orientation in _UNTURNED:
            stored = image.transpose(_UNTURNED[header.orientation])
            stored.getexif().update(image.getexif())
            return _encode(stored, "TIFF", image, quality="keep")
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


def encode_gray_png(values: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG of one channel of 8 bits, shape (height, width), whose numbers every reader sees as they are."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values), "L").save(stream, "PNG")
    return stream.getvalue()


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
    elif form in ("AVIF", "WEBP"):
        options["quality"] = _JPEG_QUALITY
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _opened(file: IO[bytes], head: bytes) -> Header | None:
    """Return the header of a file as Pillow finds it, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata
        try:
            with Image.open(file, formats=_FORMATS) as image:
                header = _pillow_header(image, head)
        except (OSError, SyntaxError, ValueError, struct.error):
            return None
    return header if header.width > 0 and header.height > 0 else None


def _pillow_header(image: Image.Image, head: bytes) -> Header:
    """Return the header of a picture that Pillow opened but did not decode."""
    width, height = image.size
    form = "JPEG" if image.format == "MPO" else image.format or ""
    channels = _CHANNELS.get(image.mode, 3)
    if form == "TIFF":  # Pillow gives the size of the picture as it will turn it
        orientation = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
        orientation = orientation if orientation in _UNTURNED else UPRIGHT
        stored = (height, width) if orientation >= 5 else (width, height)
        return Header(*stored, orientation, form, channels)
    raw = image.info.get("exif")
    if raw:
        return Header(width, height, exif_orientation(raw), form, channels)
    return Header(width, height, png_orientation(head) if form == "PNG" else UPRIGHT, form, channels)
