"""Missing, damaged or wrongly described originals, and file names that are unsafe on a disk."""

import random
import unicodedata

from pipeline.sandbox.records import OriginalFile, Record, Twist, image_file

FILE_TWISTS: dict[str, Twist] = {}
"""Name of the trouble → what makes it. Names that collide come in pairs, one after the other."""

_NAMES = {
    "duplicate_a": "frame.jpg",
    "duplicate_b": "frame.jpg",
    "case_upper": "Frame_A.JPG",
    "case_lower": "frame_a.jpg",
    "stem_jpg": "twin.jpg",
    "stem_png": "twin.png",
    "form_nfc": unicodedata.normalize("NFC", "가로수 길.jpg"),
    "form_nfd": unicodedata.normalize("NFD", "가로수 길.jpg"),
    "parent": "../../evil.jpg",
    "parent_backslash": "..\\..\\evil.jpg",
    "parent_encoded": "%2e%2e%2fevil.jpg",
    "absolute": "/etc/passwd",
    "drive": "C:\\Windows\\evil.jpg",
    "nul": "a\x00b.jpg",
    "reserved": "CON.jpg",
    "reserved_nul": "NUL.txt",
    "punctuation": 'a:b*c?"d<e>|f.jpg',
    "trailing": "trailing. ",
    "newline": "two\nlines.jpg",
    "escape_code": "\x1b[2Jred.jpg",
    "leading_dash": "-rf.jpg",
    "hidden": ".hidden.jpg",
    "long": "x" * 300 + ".jpg",
    "long_unicode": "길" * 120 + ".jpg",
    "emoji": "🚗🚦.jpg",
    "right_to_left": "\u202egpj.exe",
    "spaces": "my  dash cam (1).jpg",
    "no_extension": "frame_without_extension",
    "dots": "a.b.c.tar.jpg",
    "empty": "",
    "dot": ".",
    "dot_dot": "..",
}


def twist(function: Twist) -> Twist:
    """Register a malformation under its function's name."""
    FILE_TWISTS[function.__name__.removeprefix("_")] = function
    return function


def _named(name: str) -> Twist:
    def change(record: Record, _: random.Random) -> None:
        record.original.info["file_name_original"] = name
        record.original.extension = "png" if name.endswith(".png") else "jpg"

    return change


FILE_TWISTS |= {f"name:{case}": _named(name) for case, name in _NAMES.items()}


@twist
def _name_missing(record: Record, _: random.Random) -> None:
    del record.original.info["file_name_original"]
    record.original.info.pop("path_original")


@twist
def _name_null(record: Record, _: random.Random) -> None:
    record.original.info["file_name_original"] = None


@twist
def _file_null(record: Record, _: random.Random) -> None:
    record.files = None


@twist
def _file_missing(record: Record, _: random.Random) -> None:
    record.files, record.files_absent = None, True


@twist
def _files_empty(record: Record, _: random.Random) -> None:
    record.files = []


@twist
def _url_missing(record: Record, _: random.Random) -> None:
    record.original.url = "none"


@twist
def _media_url(record: Record, _: random.Random) -> None:
    """A path of the API's own host instead of a signed URL."""
    record.original.url = "media"


def _sidecar(record: Record) -> OriginalFile:
    info = {"file_name_original": f"dashcam_{record.index:06d}.json", "file_type": "data", "is_primary": False}
    return OriginalFile("data_meta_1", info, "json", content=b'{"weather": "sunny"}')


@twist
def _sidecar_first(record: Record, _: random.Random) -> None:
    record.files = [_sidecar(record), record.original]


@twist
def _sidecar_last(record: Record, _: random.Random) -> None:
    record.files = [record.original, _sidecar(record)]


@twist
def _primary_missing(record: Record, _: random.Random) -> None:
    del record.original.info["is_primary"]


@twist
def _meta_missing(record: Record, _: random.Random) -> None:
    """The document knows the size, the file does not."""
    del record.original.info["meta"]


@twist
def _meta_wrong(record: Record, _: random.Random) -> None:
    """The file claims twice the size that the document and the picture have."""
    record.original.info["meta"] = {"width": record.scene.width * 2, "height": record.scene.height * 2}


@twist
def _size_in_meta_only(record: Record, _: random.Random) -> None:
    record.document["extra"] = {"image_1": {}}


@twist
def _size_in_header_only(record: Record, _: random.Random) -> None:
    """Neither the document nor the file says the size: the header of the picture has it."""
    record.document["extra"] = {"image_1": {}}
    record.original.info["meta"] = {}


@twist
def _truncated_image(record: Record, _: random.Random) -> None:
    record.original.style = "truncated"
    record.original.extension = "jpg"


@twist
def _empty_image(record: Record, _: random.Random) -> None:
    record.original.style = "empty"


@twist
def _exif_rotated(record: Record, _: random.Random) -> None:
    """A JPEG with an orientation; annotations and sizes are those of the stored pixels."""
    record.files = [image_file(record.scene, f"dashcam_{record.index:06d}.jpg", "jpg")]
    record.original.style = "exif"


@twist
def _exif_upright(record: Record, _: random.Random) -> None:
    """A JPEG with an orientation; annotations and sizes are those of the upright picture."""
    record.files = [image_file(record.scene, f"dashcam_{record.index:06d}.jpg", "jpg")]
    record.original.style = "exif_upright"


@twist
def _size_wrong(record: Record, _: random.Random) -> None:
    """Document and file agree on a size that the picture does not have."""
    size = {"width": record.scene.width + 40, "height": record.scene.height - 8}
    record.document["extra"] = {"image_1": size}
    record.original.info["meta"] = dict(size)


@twist
def _trailing_bytes(record: Record, _: random.Random) -> None:
    """A JPEG with two bytes after its end."""
    record.files = [image_file(record.scene, f"dashcam_{record.index:06d}.jpg", "jpg")]
    record.original.style = "trailing"
