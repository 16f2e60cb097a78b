"""Build the records of a sandbox one by one from its seed: a scene, its document, its original files."""

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.sandbox.documents import document_v1
from pipeline.sandbox.scenes import Scene, draw_scene

type PictureStyle = Literal["plain", "truncated", "empty", "exif", "exif_upright", "trailing"]
type PayloadFault = Literal["", "wrong_digest", "wrong_size", "gone", "truncated_without_url"]


@dataclass(slots=True)
class OriginalFile:
    """A file of the data unit: what the API says of it (``info``, without URL), and its bytes.

    The bytes are a picture of ``scene`` in ``style``, or ``content`` when there is no scene.
    """

    spec: str
    info: dict[str, Any]
    extension: str
    scene: Scene | None = None
    style: PictureStyle = "plain"
    content: bytes = b""
    url: Literal["signed", "media", "null", "none"] = "signed"


@dataclass(slots=True)
class Record:
    """One data unit with its annotation document, shared by its task, assignment and ground truth event.

    ``kind`` is ``tidy`` or the name of the malformation. ``readable`` is False when the document as a whole cannot be
    read as annotations. ``files`` is None when the API says null; ``files_absent`` leaves the key out.
    ``literals`` are the document's strings to be replaced by raw JSON text.
    """

    index: int
    kind: str
    scenes: list[Scene]
    document: Any
    files: list[OriginalFile] | None
    schema: str = "dm_schema_v1"
    readable: bool = True
    files_absent: bool = False
    payload_fault: PayloadFault = ""
    literals: dict[str, str] = field(default_factory=dict)

    @property
    def scene(self) -> Scene:
        """The first media."""
        return self.scenes[0]

    @property
    def original(self) -> OriginalFile:
        """The first file."""
        assert self.files
        return self.files[0]


type Twist = Callable[[Record, random.Random], None]


def record_rng(seed: int, index: int) -> random.Random:
    """Return the random numbers of one record, independent of all other records and of PYTHONHASHSEED."""
    return random.Random(f"{seed}/{index}")


def image_file(scene: Scene, name: str, extension: str) -> OriginalFile:
    """Return the original of an image, described completely and correctly."""
    info = {
        "file_name_original": name,
        "file_type": "image",
        "is_primary": True,
        "meta": {"width": scene.width, "height": scene.height},
        "path_original": f"dash/{name}",
    }
    return OriginalFile(scene.media, info, extension, scene)


def relabelled(record: Record, rng: random.Random, assignment_id: int) -> Record:
    """Return a clean record after it was labelled again: without the last annotation, with the same picture."""
    scenes = [dataclasses.replace(scene, things=scene.things[:-1]) for scene in record.scenes]
    return dataclasses.replace(record, scenes=scenes, document=document_v1(rng, scenes, assignment_id))


def tidy_record(
    rng: random.Random, index: int, assignment_id: int, size: tuple[int, int], *, busy: bool = False
) -> Record:
    """Return a clean record: one picture and one v1 document, complete and correct."""
    scene = draw_scene(rng, "image_1", size, busy=busy)
    extension = "png" if index % 3 == 2 else "jpg"
    name = f"dashcam_{index:06d}.{extension}"
    document = document_v1(rng, [scene], assignment_id)
    return Record(index, "tidy", [scene], document, [image_file(scene, name, extension)])
