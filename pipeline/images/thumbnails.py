"""Small pictures of large ones."""

import io
import struct
import warnings

from PIL import Image, ImageOps

from pipeline.images.files import MAX_DECODED, PictureError

_SIDE = 420
_QUALITIES = (72, 55, 35)
_MOST_BYTES = 40_000


def make_thumbnail(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG of at most 420 pixels and some 40,000 bytes of a picture.

    Its labels are for ``width`` x ``height`` pixels. It is turned as its orientation says, unless its labels
    are for the picture as it is stored. Raises PictureError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged metadata
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_DECODED:
                    raise PictureError(f"the picture has more than {MAX_DECODED:,} pixels")
                is_stored = (image.width > image.height) == (width > height)
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                small = image.convert("RGB") if image.mode in ("P", "1", "LA", "RGBA", "PA") else image
                small.thumbnail((_SIDE, _SIDE))
                upright = ImageOps.exif_transpose(small)
                fits = (upright.width > upright.height) == (width > height)
                return _encode((small if is_stored and not fits else upright).convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"the picture cannot be decoded ({type(error).__name__})") from error


def _encode(image: Image.Image) -> bytes:
    data = b""
    for quality in _QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        data = stream.getvalue()
        if len(data) <= _MOST_BYTES:
            break
    return data
