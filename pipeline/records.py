"""What the pipeline talks about: records, samples, annotations and their shapes.

All types are small, frozen and encode to compact MessagePack (``array_like``), because samples are staged
on disk between stages by the million. Coordinates are pixels, the origin is the outer corner of the top left
pixel, x grows to the right and y downwards; nothing is clipped or rounded here.
"""

from typing import Any, Literal

import msgspec


class _Frozen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of the leaf types: immutable, staged as arrays, invisible to the garbage collector."""


class Box(_Frozen, frozen=True, tag="box"):
    """An upright rectangle from ``(x, y)``; ``rotation`` in radians turns it about its centre."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


class Polygon(_Frozen, frozen=True, tag="polygon"):
    """A closed ring, ``(x1, y1, x2, y2, …)``, at least three points, first point not repeated."""

    points: tuple[float, ...]


class Polyline(_Frozen, frozen=True, tag="polyline"):
    """An open line, ``(x1, y1, x2, y2, …)``, at least two points."""

    points: tuple[float, ...]


class Point(_Frozen, frozen=True, tag="point"):
    """A keypoint. ``visibility`` as in COCO: 0 missing, 1 occluded, 2 visible."""

    x: float
    y: float
    visibility: int = 2


class Mask(_Frozen, frozen=True, tag="mask"):
    """Pixels of an image as row-major runs.

    ``runs`` holds little-endian int64 pairs ``start, length`` (``numpy.frombuffer(runs, "<i8").reshape(-1, 2)``),
    sorted, non-empty, non-overlapping, with ``start = y * width + x``: DM Schema's own run-length encoding.
    ``width`` is that of the sample. ``is_cut`` tells that it had more pixels, outside the picture that the sample
    turned out to have.
    """

    runs: bytes
    is_cut: bool = False


class Whole(_Frozen, frozen=True, tag="whole"):
    """No geometry: the annotation classifies the whole media."""


class Relation(_Frozen, frozen=True, tag="relation"):
    """A directed link between two annotations of the same document."""

    source: str
    target: str


class Opaque(_Frozen, frozen=True, tag="opaque"):
    """Geometry no image format draws (cuboid, text range, time range, prompt …), as its raw JSON."""

    json: bytes


type Shape = Box | Polygon | Polyline | Point | Mask | Whole | Relation | Opaque


class Annotation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One labelled thing.

    ``tool`` is DM Schema's tool name (``bounding_box``, ``polygon``, ``segmentation`` …), ``label`` the class code,
    trimmed and NFC-normalised, ``attributes`` everything else the annotator chose, as JSON values, and ``group``
    the id of the annotation group (a skeleton, for keypoints) or ``""``; ``group_label`` is the class of that group.
    """

    id: str
    tool: str
    label: str
    shape: Shape
    attributes: dict[str, Any] = {}
    group: str = ""
    group_label: str = ""


class File(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An original file of a record. It has no URL: URLs are signed, expire, and are never staged.

    ``spec`` is the file's key in the data unit (``image_1``; ``""`` for an assignment's only file), ``name`` the
    original file name as the server gives it (unsafe until it went through :mod:`pipeline.model.naming`), ``kind`` the
    file type (``image``, ``video``, ``data`` …), sizes in pixels and bytes or None when the server does not say.
    ``suffix`` is set where the name has none that readers take for an image's: the one of the format that its header
    shows, with its dot. ``is_fetchable`` is False when the server lists the file and no URL of it.
    """

    spec: str
    name: str = ""
    kind: str = ""
    primary: bool = False
    width: int | None = None
    height: int | None = None
    size: int | None = None
    checksum: str = ""
    suffix: str = ""
    is_fetchable: bool = True


class Record(_Frozen, frozen=True):
    """A record of the platform: what all its samples share. Its samples are not in it, because they go on one by one.

    ``id`` is its unique key (``id``; ``pgh_id`` for ground truth), ``category`` its ground truth category. ``group`` is
    the value of ``split.key`` (``""`` when that is the record itself): records that share it are in the same split.
    ``payload`` (the document, compact JSON) and ``files`` (JSON object of file infos without URLs) are empty unless a
    format asks for them (``Format.needs_payload``).
    """

    id: int
    category: str = ""
    group: str = ""
    payload: bytes = b""
    files: bytes = b""


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One media of a record with its annotations: what formats see.

    ``record_id`` is the id of its :class:`Record` and ``ordinal`` counts the samples of a record from 0, so
    ``(record_id, ordinal)`` identifies a sample. ``media`` is the document's key (``image_1``),
    ``kind`` its type (``image``, ``video`` … or ``document`` for a record whose payload is no DM document).
    ``width`` and ``height`` are pixels, None for anything but images and for images whose size nobody knows.
    ``file`` is None when the API lists no file for the media. ``left_out`` is the reason why an image is left out
    of the formats that train, else ``""``: an annotation of it failed (``on_failed_annotation``), and it would teach
    that nothing is there, or the API has no URL of its original (``on_missing_original``).
    """

    record_id: int
    ordinal: int
    media: str
    kind: str
    width: int | None
    height: int | None
    file: File | None
    annotations: tuple[Annotation, ...]
    left_out: str = ""

    @property
    def has_image(self) -> bool:
        """Whether image formats can use it: an image with a file and a known size that no rule leaves out."""
        is_known = self.file is not None and bool(self.width) and bool(self.height)
        return self.kind == "image" and is_known and not self.left_out


class Original(msgspec.Struct, frozen=True, gc=False):
    """The copy of an original that is in the export: bytes, and their sha256 in hexadecimal.

    ``channels`` is the number of values of a decoded pixel, None when the header was not read.
    """

    size: int
    sha256: str
    channels: int | None = None


class NumberedSample(msgspec.Struct, frozen=True, gc=False):
    """A sample with its record and everything the catalog decided for it.

    ``image_id`` and ``annotation_id`` count from 1 over the whole export, all splits; annotation ``i`` of the sample
    has id ``annotation_id + i``. ``stem`` is unique over the export, also on case-blind disks, and ``file_name`` is
    the leaf of the original (``stem`` plus the original extension). ``position`` counts the usable images of the split
    from 0, in the order of records: what a format goes by that writes several files of a fixed number of images.
    ``original`` is the copy at :attr:`original_path`, None when originals are not copied. ``is_original_missing`` says
    that they are copied, but the API has no URL of this one: its annotations are exported without it.
    """

    record: Record
    sample: Sample
    image_id: int
    annotation_id: int
    split: str
    stem: str
    file_name: str
    position: int = 0
    original: Original | None = None
    is_original_missing: bool = False

    @property
    def original_path(self) -> str:
        """Where the original is, relative to the root of the export.

        Only images that have labels (or have none to have) are below ``images/``, where a trainer takes an image
        without labels for a background; videos, unreadable images and the like are below ``files/``.
        """
        return f"{'images' if self.sample.has_image else 'files'}/{self.split}/{self.file_name}"


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something of a record that could not be exported, and why.

    ``of`` says what failed: the ``record``, one of its ``media``, an ``annotation`` of a media, or the ``original`` of
    a media. ``media`` and ``annotation_id`` name it, as far as it has a name. ``outcome`` is ``failed`` (it could not
    be read or fetched, and counts against ``max_failures``), ``skipped`` (left out by a rule) or ``corrected`` (put
    right, and exported). ``transient`` failures, for example a payload that could not be fetched, are tried again when
    the same export is run again. ``detail`` never holds a URL.
    """

    record_id: int
    reason: str
    detail: str = ""
    media: str = ""
    annotation_id: str = ""
    outcome: str = "failed"
    transient: bool = False
    of: Literal["record", "media", "annotation", "original"] = "record"
