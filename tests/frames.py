"""Pictures with two marks, stored in every way that a picture can be turned, and their export.

What a reader loads of it is judged by ``consumers/marks.py``, and what the documentation promises is :func:`promised`.
"""

import io
import zlib
from itertools import product
from typing import NamedTuple

import numpy as np
import yaml
from aiohttp import web
from PIL import Image

from consumers.marks import COLOURS
from exporting import ROOT
from pipeline.config.loading import parse_config
from pipeline.run import run
from stores import environment_of
from synapse.local_api import TinySynapse, task

FORMS = {
    "JPEG": "jpg",
    "PNG": "png",
    "PNG, late EXIF": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "AVIF": "avif",
    "MPO": "mpo",
}
"""The suffixes of names by form; EXIF of one kind of PNG stands after the pixels."""
ORIENTATIONS = range(1, 9)
TOLD = ("right", "swapped", "larger", "smaller", "missing")
"""What a record says of the size of its picture; ``right`` is that of the upright picture."""
STORED = (160, 96)
"""Width and height as stored; multiples of the blocks that lossy forms work on."""
MARKS = {"red": (16, 16, 48, 32), "blue": (48, 64, 64, 80)}
"""The corners of the marks on the upright picture, no two of whose turns look the same."""

_STORE = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


class Frame(NamedTuple):
    """One picture of the matrix: how it is stored, what its record says of its size, and on what it was annotated."""

    form: str
    orientation: int
    told: str

    @property
    def name(self):
        """The name of its file."""
        return f"{self.form.replace(', ', '-').replace(' ', '-')}-{self.orientation}-{self.told}.{FORMS[self.form]}"

    @property
    def is_drawn_as_stored(self):
        """Whether it was annotated as it is stored, although it is stored on its side."""
        return self.told == "swapped" and self.orientation >= 5

    def pixels(self):
        """The upright picture, shape (height, width, 3)."""
        width, height = STORED if self.orientation < 5 else STORED[::-1]
        upright = np.full((height, width, 3), 128, np.uint8)
        for mark, (left, top, right, bottom) in MARKS.items():
            upright[top:bottom, left:right] = COLOURS[mark]
        return upright

    def file(self):
        """The bytes of its file."""
        image = Image.fromarray(np.ascontiguousarray(_STORE[self.orientation](self.pixels())))
        form = self.form.partition(",")[0]
        options = {"save_all": True, "append_images": [image]} if form == "MPO" else {}
        if self.orientation != 1:
            exif = Image.Exif()
            exif[0x0112] = self.orientation
            options["exif"] = exif.tobytes()
        file = io.BytesIO()
        image.save(file, form, **options)
        return late_exif(file.getvalue()) if self.form == "PNG, late EXIF" else file.getvalue()

    def document(self):
        """Its document: a box around each mark, on the picture that was annotated."""
        upright = self.pixels()
        annotated = _STORE[self.orientation](upright) if self.is_drawn_as_stored else upright
        size = annotated.shape[1::-1]
        said = {"right": size, "swapped": size if self.is_drawn_as_stored else size[::-1], "larger": (240, 240),
                "smaller": (80, 84), "missing": None}[self.told]  # fmt: skip
        document = {
            "annotations": {
                "image_1": [{"id": k, "tool": "bounding_box", "classification": {"class": k}} for k in MARKS]
            },
            "annotationsData": {"image_1": [{"id": k, "coordinate": _around(annotated, k)} for k in MARKS]},
        }
        return document | ({"extra": {"image_1": {"width": said[0], "height": said[1]}}} if said else {})


FRAMES = {frame.name: frame for frame in map(Frame._make, product(FORMS, ORIENTATIONS, TOLD))}
"""The matrix by the names of the files."""


def late_exif(png):
    """A PNG with its EXIF moved behind the pixels, where the standard allows it too."""
    begin = png.find(b"eXIf") - 4
    if begin < 0:
        return png
    end = begin + 12 + int.from_bytes(png[begin : begin + 4], "big")
    return png[:begin] + png[end:-12] + png[begin:end] + png[-12:]


def padded(data, size):
    """A PNG, WebP or TIFF with ``size`` bytes that mean nothing before what stands last in it.

    That is a PNG's or WebP's EXIF, if there is any behind the pixels; the directory of a TIFF is moved to its end.
    """
    if data.startswith(b"\x89PNG"):
        chunk = b"prVt" + bytes(size)
        at = max(data.find(b"eXIf"), 0) or data.index(b"IEND")
        at = at if at > data.index(b"IDAT") else data.index(b"IEND")
        pad = size.to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return data[: at - 4] + pad + data[at - 4 :]
    if data.startswith(b"RIFF"):
        at = data.find(b"EXIF") if b"EXIF" in data else len(data)
        data = data[:at] + b"PADD" + size.to_bytes(4, "little") + bytes(size) + data[at:]
        return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    begin = int.from_bytes(data[4:8], "little")
    directory = data[begin : begin + 2 + 12 * int.from_bytes(data[begin : begin + 2], "little") + 4]
    return data[:4] + (len(data) + size).to_bytes(4, "little") + data[8:] + bytes(size) + directory


def _around(pixels, mark):
    rows, columns = np.nonzero((pixels == COLOURS[mark]).all(axis=2))
    left, top = int(columns.min()), int(rows.min())
    return {"x": left, "y": top, "width": int(columns.max()) + 1 - left, "height": int(rows.max()) + 1 - top}


def export_frames(path, exif, frames=FRAMES, padding=0):
    """Export pictures (the whole matrix) as COCO, YOLO and VOC with one policy; returns the requests for files."""
    pictures = [
        (frame.name, padded(frame.file(), padding) if padding else frame.file(), frame.document())
        for frame in frames.values()
    ]
    return export_pictures(
        path, pictures, exif=exif, formats=["coco", "yolo", {"voc": {"images": "transcode"}}], split={"by": "none"}
    )


def export_pictures(path, pictures, **overrides):
    """Export ``(name, bytes of the file, document)`` as tasks 1, 2 …; returns the requests for files."""
    rows, files = [], {}
    for number, (name, data, document) in enumerate(pictures, start=1):
        rows.append(task(number, data=document))
        info = rows[-1]["data_unit"]["files"]["image_1"]
        info |= {"url": f"/media/{number}", "file_name_original": name}
        files[info["url"]] = data

    def fetch(request):
        data, wanted = files[request.path], request.http_range
        if "Range" not in request.headers:
            return web.Response(body=data)
        part = data[wanted]
        said = f"bytes {wanted.start}-{wanted.start + len(part) - 1}/{len(data)}"
        return web.Response(status=206, body=part, headers={"Content-Range": said})

    values = {
        "name": "pictures", "target": "task", "filter": {"project": 12}, "path": str(path), **overrides,
        "run": {"executor": "serial"},
    }  # fmt: skip
    with TinySynapse(rows, fetch=fetch) as api, environment_of(api.environment()):
        run(parse_config(yaml.safe_dump(values)))
        return [request for request in api.seen if request.path in files]


def readers():
    """What the table in docs/images.md says that each reader does: ``{reader: {form: "turned" …}}``."""
    text = (ROOT / "docs/images.md").read_text(encoding="utf-8")
    head, _, *lines = text[text.index("| reader |") :].partition("\n\n")[0].splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")][1:]
    found = {}
    for line in lines:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        does = {form: cell for column, cell in zip(columns, cells, strict=True) for form in column.split(", ")}
        found.update(dict.fromkeys(names.split(", "), does))
    return found


def promised(exif, frame, does, format_):
    """The verdict that docs/images.md promises for a picture, a reader (what it ``does``) and a format."""
    form = {"WEBP": "WebP"}.get(frame.form, frame.form.partition(",")[0])
    if exif == "bake":
        return "right"
    # The pictures of VOC are JPEGs that Pillow made: what it has not turned is not turned yet.
    done = does[form] if format_ != "voc" else "turned" if form == "TIFF" else does["JPEG"]
    if done == "unreadable if on its side" and frame.orientation >= 5:
        return "unreadable"
    is_wrong_size = frame.told in ("larger", "smaller") or (frame.told == "swapped" and frame.orientation < 5)
    if exif == "ignore" and is_wrong_size and format_ == "yolo":
        return "wrong"
    if frame.orientation == 1 or frame.is_drawn_as_stored is (done == "not turned"):
        return "right"
    return "wrong"
