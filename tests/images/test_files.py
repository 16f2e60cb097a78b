"""Headers are read without decoding, and a picture that is changed stays the picture it was."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from frames import late_exif
from pipeline.images import files as pictures
from pipeline.images.files import (
    Header,
    PictureError,
    complete_header,
    drop_orientation,
    encode_indexed_png,
    encode_jpeg,
    is_unterminated,
    read_header,
    turn_upright,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(size=(64, 32)):
    """Red, green, blue and white quarters, so that every way to turn it looks different."""
    image = Image.new("RGB", size)
    width, height = size
    for number, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        left, top = number % 2 * width // 2, number // 2 * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


FORMS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"]


def encoded(image, form="JPEG", orientation=0, **options):
    stream = io.BytesIO()
    if form == "MPO":
        options |= {"save_all": True, "append_images": [image]}
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010E] = "a street"
        options["exif"] = exif
    image.save(stream, form, **options)
    return stream.getvalue()


def corner_colours(data):
    with Image.open(io.BytesIO(data)) as image:
        pixels, (width, height) = image.convert("RGB"), image.size
        corners = ((3, 3), (width - 4, 3), (3, height - 4), (width - 4, height - 4))
        return [tuple(round(value / 255) * 255 for value in pixels.getpixel(corner)) for corner in corners]


# Orientation and the corner colours (left to right, top to bottom) that a viewer shows; EXIF 2.3, table of tag 0x0112.
SHOWN = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("form", FORMS)
def test_a_picture_is_turned_as_viewers_turn_it(form, orientation):
    data = encoded(quarters(), form, orientation)
    header = read_header(data)
    assert header[:3] == Header(64, 32, orientation)[:3]
    assert header.upright_size == ((32, 64) if orientation >= 5 else (64, 32))
    turned = turn_upright(data)
    assert corner_colours(turned) == SHOWN[orientation]
    assert read_header(turned)[:3] == Header(*header.upright_size)[:3]
    assert Image.open(io.BytesIO(turned)).format == {"MPO": "JPEG"}.get(form, form)


def test_the_orientation_of_a_png_is_found_after_its_pixels():
    """In the whole file, and in the last bytes of one of which only the first are looked at."""
    late = late_exif(encoded(quarters(), "PNG", 6))
    assert read_header(late).orientation == 6
    head, tail = late[:50], late[-200:]
    header = read_header(head)
    assert header.orientation is None
    assert complete_header(header, head, tail, len(late) - 200).orientation == 6
    damaged = tail.replace(b"MM", b"XX")
    assert complete_header(header, head, damaged, len(late) - 200).orientation == 1
    assert complete_header(header, head, b"", len(late)).orientation is None


def test_the_orientation_of_a_webp_is_unknown_until_its_end():
    data = encoded(quarters((640, 320)), "WEBP", 8)
    header = read_header(data[:200])
    assert header[:3] == (640, 320, None)
    assert complete_header(header, data[:200], data[-300:], len(data) - 300).orientation == 8
    assert complete_header(header, data[:200], data[-10:], len(data) - 10).orientation is None
    assert read_header(data).orientation == 8


@pytest.mark.parametrize(("byte_order", "is_big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_is_known_by_its_directory_wherever_it_stands(byte_order, is_big):
    begin = 5_000_000
    head, directory = tiff(begin, byte_order, is_big)
    assert read_header(head) is None
    assert complete_header(None, head, directory, begin) == Header(64, 32, 6, "TIFF", 1)
    assert complete_header(None, head, directory[:20], begin) is None
    assert complete_header(None, head, bytes(200), begin) is None


def test_a_tiff_that_points_into_the_unknown_fills_no_memory():
    begin = 2**33
    head, directory = tiff(begin, "<", True, strips=(4, 2**30, 2**20))
    tracemalloc.start()
    assert complete_header(None, head, directory, begin) is None
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def tiff(begin, byte_order, is_big, strips=(4, 1, 8)):
    """The first bytes of a TIFF and its directory, which stands at ``begin``, of 64 x 32 grey pixels on their side.

    ``strips`` says where pixels are: type, count, and the value or where the values stand.
    """
    tags = {256: (4, 1, 64), 257: (4, 1, 32), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: strips,
            274: (3, 1, 6), 277: (3, 1, 1), 278: (4, 1, 32), 279: (4, 1, 2048)}  # fmt: skip
    mark = {"<": b"II", ">": b"MM"}[byte_order]
    if is_big:
        head = mark + struct.pack(byte_order + "HHHQ", 43, 8, 0, begin)
        count, tag, following = "Q", "HHQ", "Q"
        places = {3: "H6x", 4: "I4x"}
    else:
        head = mark + struct.pack(byte_order + "HI", 42, begin)
        count, tag, following = "H", "HHI", "I"
        places = {3: "H2x", 4: "I"}
    rows = b""
    for number, (kind, items, value) in tags.items():
        place = places[kind] if items == 1 else following
        rows += struct.pack(byte_order + tag + place, number, kind, items, value)
    return head, struct.pack(byte_order + count, len(tags)) + rows + struct.pack(byte_order + following, 0)


@pytest.mark.parametrize("orientation", SHOWN)
def test_a_heic_is_read_by_the_properties_that_it_shares_with_avif(orientation):
    data = encoded(quarters(), "AVIF", orientation)
    length = int.from_bytes(data[:4], "big")
    heic = data[:length].replace(b"avif", b"heic") + data[length:]
    assert read_header(heic) == Header(64, 32, orientation, "HEIF")
    assert read_header(heic).suffix == ".heic"


@pytest.mark.parametrize("form", FORMS)
def test_only_the_orientation_goes_when_pixels_stay_as_they_are(form):
    data = encoded(quarters(), form, 6)
    kept = drop_orientation(data)
    assert read_header(kept)[:3] == Header(64, 32)[:3]
    assert corner_colours(kept) == SHOWN[1]
    with Image.open(io.BytesIO(kept)) as image:
        assert image.getexif()[0x010E] == "a street"


def test_a_jpeg_keeps_its_quantisation_when_pixels_stay():
    data = encoded(quarters(), orientation=6, quality=37)
    kept = Image.open(io.BytesIO(drop_orientation(data)))
    assert kept.quantization == Image.open(io.BytesIO(data)).quantization


def test_the_colour_profile_stays():
    data = encoded(quarters(), orientation=3, icc_profile=b"profile" * 20)
    for changed in (turn_upright(data), drop_orientation(data), encode_jpeg(data)):
        assert Image.open(io.BytesIO(changed)).info["icc_profile"] == b"profile" * 20


def test_the_same_picture_gives_the_same_bytes():
    data = encoded(quarters(), orientation=8)
    assert turn_upright(data) == turn_upright(data)
    assert encode_jpeg(data) == encode_jpeg(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_any_picture_becomes_an_rgb_jpeg(mode):
    form = "TIFF" if mode == "CMYK" else "PNG"
    with Image.open(io.BytesIO(encode_jpeg(encoded(quarters().convert(mode), form)))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 32))


def test_transparency_becomes_white():
    assert corner_colours(encode_jpeg(encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), "PNG"))) == [WHITE] * 4


@pytest.mark.parametrize("change", [turn_upright, drop_orientation, encode_jpeg])
@pytest.mark.parametrize("data", [b"", b"no picture", encoded(quarters())[:300], encoded(quarters(), "PNG")[:90]])
def test_what_cannot_be_decoded_is_refused(change, data):
    with pytest.raises(PictureError, match="cannot be decoded"):
        change(data)


def test_a_picture_larger_than_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_DECODED", 64 * 32 - 1)
    with pytest.raises(PictureError, match="more than"):
        encode_jpeg(encoded(quarters()))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_is_upright(orientation):
    assert read_header(encoded(quarters(), orientation=orientation))[:3] == Header(64, 32)[:3]


def test_damaged_metadata_is_no_reason_to_fail():
    data = encoded(quarters(), orientation=6).replace(b"MM\0*", b"MM\0*\xff"[:4] + b"", 1)
    cut = data[:30] + b"\xff" * 8 + data[38:]
    header = read_header(cut)
    assert header is None or header[:3] in ((64, 32, 1), (64, 32, 6))


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        (b"\xff\xd8\xff", b"\xff\xd9", False),
        (b"\xff\xd8\xff", b"\0\0", True),
        (b"\xff\xd8\xff", b"\xd9", True),
        (b"\x89PN", b"\0\0", False),
    ],
)
def test_only_a_jpeg_has_an_end_mark(head, tail, expected):
    assert is_unterminated(head, tail) is expected


def test_an_indexed_png_holds_indices_and_palette():
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::-1]
    palette = bytes(range(256)) * 3
    with Image.open(io.BytesIO(encode_indexed_png(indices, palette))) as image:
        assert (image.mode, image.size) == ("P", (3, 2))
        assert np.asarray(image).tolist() == indices.tolist()
        assert bytes(image.getpalette()[:18]) == palette[:18]
