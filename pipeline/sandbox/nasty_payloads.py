"""Documents that are not annotation documents, cannot be parsed or cannot be fetched, and media that are not images."""

import random
from dataclasses import replace
from typing import Any

from pipeline.sandbox.nasty_documents import put, rewrite, spot
from pipeline.sandbox.records import OriginalFile, PayloadFault, Record, Twist
from pipeline.sandbox.scenes import Scene, Thing, new_id

PAYLOAD_TWISTS: dict[str, Twist] = {}
"""Name of the malformation → what makes it."""

UNPARSABLE_KINDS = ("deep_json", "huge_integer", "lone_surrogate")
"""Documents that parsers refuse; inline they make the whole page they are on unparsable for some."""

_DEPTH = 20_000


def twist(function: Twist) -> Twist:
    """Register a malformation under its function's name."""
    PAYLOAD_TWISTS[function.__name__.removeprefix("_")] = function
    return function


def unreadable(record: Record, document: Any) -> None:
    """Use a document without readable annotations."""
    record.document, record.readable = document, False
    for scene in record.scenes:
        scene.things.clear()


@twist
def _data_null(record: Record, _: random.Random) -> None:
    unreadable(record, None)


@twist
def _data_empty(record: Record, _: random.Random) -> None:
    unreadable(record, {})


@twist
def _data_list(record: Record, _: random.Random) -> None:
    unreadable(record, [1, 2, 3])


@twist
def _data_text(record: Record, _: random.Random) -> None:
    unreadable(record, "not a document")


@twist
def _schema_any(record: Record, _: random.Random) -> None:
    record.schema = "any"
    unreadable(record, {"transcript": "안녕하세요", "score": 0.75, "nested": {"list": [1, None, True]}})


@twist
def _deep_json(record: Record, _: random.Random) -> None:
    """Nested deeper than parsers recurse: neither the document nor a page with it can be decoded whole."""
    unreadable(record, {"annotations": {}, "deep": "@deep@"})
    record.literals["@deep@"] = "[" * _DEPTH + "]" * _DEPTH


@twist
def _huge_integer(record: Record, _: random.Random) -> None:
    """A number of 5,000 digits, which the standard library refuses to parse."""
    unreadable(record, {"annotations": {}, "huge": "@huge@"})
    record.literals["@huge@"] = "1" + "0" * 4999


@twist
def _lone_surrogate(record: Record, rng: random.Random) -> None:
    """Half a character in an attribute: JSON escapes allow it, UTF-8 does not, and strict parsers refuse it."""
    annotation, _ = put(record, rng, spot(record.scene, rng))
    annotation["classification"]["note"] = "@surrogate@"
    unreadable(record, record.document)
    record.literals["@surrogate@"] = '"\\ud800"'


@twist
def _duplicate_keys(record: Record, rng: random.Random) -> None:
    """A key twice in one object; parsers keep the last."""
    annotation, _ = put(record, rng, spot(record.scene, rng))
    annotation["classification"]["note"] = "@twice@"
    record.scene.things[-1] = replace(record.scene.things[-1], attributes={"note": "last"})
    record.literals["@twice@"] = '"first", "note": "last"'


@twist
def _video(record: Record, rng: random.Random) -> None:
    scene = Scene(
        "video_1",
        1280,
        720,
        [Thing(new_id(rng), "segmentation", "car", {"section": {"startFrame": 9, "endFrame": 75}})],
    )
    _other_media(record, rng, scene, "video", "mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(512))


@twist
def _point_cloud(record: Record, rng: random.Random) -> None:
    axes = {name: {"x": 1.5, "y": 2.0, "z": 0.25} for name in ("position", "scale", "rotation")}
    scene = Scene("pcd_1", 0, 0, [Thing(new_id(rng), "3d_bounding_box", "car", {"psr": axes})])
    _other_media(record, rng, scene, "pcd", "pcd", b"# .PCD v0.7\n")


def _other_media(record: Record, rng: random.Random, scene: Scene, kind: str, extension: str, content: bytes) -> None:
    record.scenes[:] = [scene]
    name = f"dashcam_{record.index:06d}.{extension}"
    info = {"file_name_original": name, "file_type": kind, "is_primary": True, "meta": {}}
    record.files = [OriginalFile(scene.media, info, extension, content=content)]
    rewrite(record, rng)
    record.document["extra"] = {scene.media: {}}


def _payload(record: Record, fault: PayloadFault) -> None:
    record.payload_fault = fault


@twist
def _payload_wrong_digest(record: Record, _: random.Random) -> None:
    """Only with presigned payloads, like the next three: the promised digest is another document's."""
    _payload(record, "wrong_digest")


@twist
def _payload_wrong_size(record: Record, _: random.Random) -> None:
    _payload(record, "wrong_size")


@twist
def _payload_gone(record: Record, _: random.Random) -> None:
    """The object store answers 404."""
    _payload(record, "gone")


@twist
def _payload_truncated_without_url(record: Record, _: random.Random) -> None:
    _payload(record, "truncated_without_url")
