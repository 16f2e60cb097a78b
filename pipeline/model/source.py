"""Types that stages exchange with a source of records: project, extracted records, originals and their copies."""

import msgspec

from pipeline.images.files import Header
from pipeline.reasons import Reason
from pipeline.records import Failure, Record, Sample


class Project(msgspec.Struct, frozen=True):
    """The project that records come from.

    ``classes`` are its configured classes in order, ``points`` those of keypoints, and ``tools`` the tools of each
    class. For ground truth whose project cannot be found, ``id`` is None, these are empty, and ``warning`` says why.
    """

    id: int | None
    title: str
    classes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    warning: str = ""
    tools: dict[str, tuple[str, ...]] = {}


class ExtractedRecord(msgspec.Struct, frozen=True):
    """One planned record with everything that was extracted of it.

    ``samples`` is empty for a record that gives none; then ``failures`` says why. ``seen`` counts the annotations in
    its document, readable or not; ``bytes`` is the size of the document.
    """

    record: Record
    samples: tuple[Sample, ...] = ()
    failures: tuple[Failure, ...] = ()
    seen: int = 0
    bytes: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """An original to copy: its record, its spec, where to, and its size in bytes if the API says it.

    ``pixels`` is the declared width and height of an image; None for anything else, and for images that are copied
    unseen. ``bake`` asks for a copy that is turned upright where EXIF says that the original is not.
    """

    record_id: int
    spec: str
    path: str
    size: int | None = None
    pixels: tuple[int, int] | None = None
    bake: bool = False


class Copied(msgspec.Struct, frozen=True):
    """An original that was copied: its size in bytes and its sha256 (hexadecimal) at the destination.

    ``header`` is the image header at the source, None when it was not read or the file is not an image.
    ``source_sha256`` is set when the copy is not byte for byte the source. ``findings`` are reasons to report.
    """

    path: str
    size: int
    sha256: str
    header: Header | None = None
    source_sha256: str = ""
    findings: tuple[Reason, ...] = ()
