"""Malformed and unusual documents: each function turns a clean record into one malformation."""

import random
import unicodedata
from dataclasses import replace

from pipeline.model.skeletons import PERSON_POINTS
from pipeline.reasons import Reason
from pipeline.sandbox.documents import (
    Json,
    annotation_v1,
    document_flat,
    document_v1,
    document_v2,
    flat_annotation,
    geometry_v1,
)
from pipeline.sandbox.records import Record, Twist, image_file
from pipeline.sandbox.scenes import Scene, Thing, draw_scene, new_id

DOCUMENT_TWISTS: dict[str, Twist] = {}
"""Name of the malformation → what makes it; the name is the function's, or a name and a variant."""

_FLAT_TOOLS = {"bounding_box", "polygon", "polyline", "keypoint"}
_ODD_CLASSES = {
    "nfd": unicodedata.normalize("NFD", "가로수"),
    "emoji": "🚗 car",
    "formula": "=SUM(A1:A9)",
    "minus": "-car",
    "markup": "a&b<c>]]>",
    "yaml_yes": "yes",
    "yaml_number": "1.0",
    "padded": "  car ",
    "quotes": "a,\"b\";'c'",
    "slash": "../car/\\bus",
    "right_to_left": "\u202eسيارة",
    "long": "x" * 300,
}
_BAD_CLASSES = {"empty": "", "blank": "   "}
# Classes with control characters, and what is made of them.
_UNTIDY_CLASSES = {
    "escape_code": ("car\x1b[2J", "car [2J"), "newline": ("car\nbus", "car bus"), "nul": ("car\x00", "car"),
}  # fmt: skip


def twist(function: Twist) -> Twist:
    """Register a malformation under its function's name."""
    DOCUMENT_TWISTS[function.__name__.removeprefix("_")] = function
    return function


def spot(scene: Scene, rng: random.Random, number: int = 0, label: str = "car") -> Thing:
    """Return a small box in the empty gap between two columns of the grid."""
    return Thing(new_id(rng), "bounding_box", label, (scene.width // 4 - 4, 8 + 20 * number, 9, 14, 0.0))


def put(record: Record, rng: random.Random, thing: Thing, *, expected: bool = True) -> tuple[Json, Json]:
    """Add a thing to the v1 document and return its two entries. ``expected`` adds it to the truth."""
    annotation, data = annotation_v1(thing), {"id": thing.id, **geometry_v1(rng, thing)}
    record.document["annotations"][record.scene.media].append(annotation)
    record.document["annotationsData"][record.scene.media].append(data)
    if expected:
        record.scene.things.append(thing)
    return annotation, data


def spoil(record: Record, thing: Thing, reason: Reason) -> None:
    """Record that a thing cannot be read, or has to be corrected, and why."""
    record.scene.faulty[thing.id] = reason.value


def rewrite(record: Record, rng: random.Random) -> None:
    """Make the v1 document again from the scenes."""
    record.document = document_v1(rng, record.scenes, record.document.get("assignmentId"))


def more_images(record: Record, rng: random.Random) -> None:
    """Add image_2 and image_10 to the record; the files list image_10 first."""
    for media in ("image_2", "image_10"):
        record.scenes.append(draw_scene(rng, media, (record.scene.width, record.scene.height), busy=True))
    stem = f"dashcam_{record.index:06d}"
    files = [image_file(scene, f"{stem}_{scene.media}.jpg", "jpg") for scene in record.scenes]
    for file in files[1:]:
        file.info["is_primary"] = False
    record.files = files[::-1]


@twist
def _multi_image(record: Record, rng: random.Random) -> None:
    more_images(record, rng)
    record.document = document_v1(rng, record.scenes[::-1], record.document["assignmentId"])


@twist
def _multi_image_v2(record: Record, rng: random.Random) -> None:
    more_images(record, rng)
    record.document = document_v2(record.scenes)


@twist
def _image_without_file(record: Record, rng: random.Random) -> None:
    """The document has an image_2 for which the data unit has no file."""
    record.scenes.append(draw_scene(rng, "image_2", (320, 240), busy=True))
    rewrite(record, rng)


@twist
def _file_without_annotations(record: Record, _: random.Random) -> None:
    """The data unit has an image_2 that the document does not mention."""
    scene = Scene("image_2", 320, 240)
    assert record.files is not None
    record.files.append(image_file(scene, f"dashcam_{record.index:06d}_image_2.jpg", "jpg"))
    record.files[-1].info["is_primary"] = False


@twist
def _v2_document(record: Record, _: random.Random) -> None:
    record.document = document_v2(record.scenes)


@twist
def _v2_bare(record: Record, _: random.Random) -> None:
    record.document = document_v2(record.scenes, bare=True)


@twist
def _v2_envelope(record: Record, _: random.Random) -> None:
    """The result of the SDK's converter, stored as it is."""
    record.document = {"annotation_data": document_v2(record.scenes), "annotation_meta": {"extra": {}}}


def flatten(things: list[Thing]) -> list[Thing]:
    """Return what the flat form can hold: plain geometry and a class."""
    return [
        replace(t, attributes={}, group="", geometry=(*t.geometry[:2], 2) if t.tool == "keypoint" else t.geometry)
        for t in things
        if t.tool in _FLAT_TOOLS
    ]


@twist
def _flat_dialect(record: Record, _: random.Random) -> None:
    record.scene.things[:] = flatten(record.scene.things)
    record.document = document_flat(record.scenes)


@twist
def _mixed_dialects(record: Record, rng: random.Random) -> None:
    """A v1 list in which one annotation is flat."""
    thing = spot(record.scene, rng)
    media = record.scene.media
    record.document["annotations"][media].insert(1, flat_annotation(thing))
    record.document["annotationsData"][media].append({"id": thing.id, "type": "bbox"})
    record.scene.things.append(thing)


@twist
def _unsuffixed_media(record: Record, rng: random.Random) -> None:
    """Media key ``image`` instead of ``image_1``, in the document and in the files."""
    record.scene.media = "image"
    record.original.spec = "image"
    rewrite(record, rng)


@twist
def _missing_sections(record: Record, _: random.Random) -> None:
    """Only the two lists; no extra, relations or groups, and annotations without their usual flags."""
    lists = {name: record.document[name] for name in ("annotations", "annotationsData")}
    for annotation in lists["annotations"]["image_1"]:
        for name in ("isLocked", "isVisible", "isValid", "isDrawCompleted", "label"):
            del annotation[name]
    record.document = lists
    record.scene.things[:] = [replace(thing, group="") for thing in record.scene.things]


@twist
def _background(record: Record, rng: random.Random) -> None:
    record.scene.things.clear()
    rewrite(record, rng)


@twist
def _orphan_annotation(record: Record, rng: random.Random) -> None:
    thing = spot(record.scene, rng)
    put(record, rng, thing, expected=False)
    record.document["annotationsData"]["image_1"].pop()
    spoil(record, thing, Reason.GEOMETRY_MISSING)


@twist
def _orphan_geometry(record: Record, rng: random.Random) -> None:
    thing = spot(record.scene, rng)
    put(record, rng, thing, expected=False)
    record.document["annotations"]["image_1"].pop()
    spoil(record, thing, Reason.ORPHAN_GEOMETRY)


@twist
def _duplicate_annotation(record: Record, rng: random.Random) -> None:
    """Two annotations with one id and the same geometry: the first is in the truth, the second is faulty."""
    thing = spot(record.scene, rng)
    put(record, rng, thing)
    put(record, rng, replace(thing, label="bus"), expected=False)
    spoil(record, thing, Reason.DUPLICATE_ANNOTATION)


@twist
def _annotation_not_object(record: Record, _: random.Random) -> None:
    record.document["annotations"]["image_1"] += [None, "text", 5]
    record.scene.faulty[""] = Reason.MALFORMED_ANNOTATION.value


@twist
def _annotation_without_id(record: Record, rng: random.Random) -> None:
    annotation, data = put(record, rng, spot(record.scene, rng), expected=False)
    del annotation["id"], data["id"]
    record.scene.faulty[""] = Reason.MALFORMED_ANNOTATION.value


@twist
def _unknown_tool(record: Record, rng: random.Random) -> None:
    """A tool that does not exist yet: no format draws it, but it is an annotation, and its neighbours must stay."""
    thing = replace(spot(record.scene, rng), tool="bezier_surface", geometry={"control": [[1, 2], [3, 4]]})
    put(record, rng, thing)


@twist
def _null_classification(record: Record, rng: random.Random) -> None:
    thing = spot(record.scene, rng)
    annotation, _ = put(record, rng, thing, expected=False)
    annotation["classification"] = None
    spoil(record, thing, Reason.INVALID_CLASS_NAME)


@twist
def _classification_without_class(record: Record, rng: random.Random) -> None:
    thing = spot(record.scene, rng)
    annotation, _ = put(record, rng, thing, expected=False)
    annotation["classification"] = {"color": "red"}
    spoil(record, thing, Reason.INVALID_CLASS_NAME)


def _odd_class(label: str) -> Twist:
    def change(record: Record, rng: random.Random) -> None:
        thing = spot(record.scene, rng, label=label)
        put(record, rng, thing, expected=False)
        record.scene.things.append(replace(thing, label=unicodedata.normalize("NFC", label).strip()))

    return change


def _bad_class(label: str) -> Twist:
    def change(record: Record, rng: random.Random) -> None:
        thing = spot(record.scene, rng, label=label)
        put(record, rng, thing, expected=False)
        spoil(record, thing, Reason.INVALID_CLASS_NAME)

    return change


def _untidy_class(label: str, tidied: str) -> Twist:
    def change(record: Record, rng: random.Random) -> None:
        thing = spot(record.scene, rng, label=label)
        put(record, rng, thing, expected=False)
        record.scene.things.append(replace(thing, label=tidied))
        spoil(record, thing, Reason.CLASS_NAME_TIDIED)

    return change


DOCUMENT_TWISTS |= {f"class:{name}": _odd_class(label) for name, label in _ODD_CLASSES.items()}
DOCUMENT_TWISTS |= {f"class:{name}": _bad_class(label) for name, label in _BAD_CLASSES.items()}
DOCUMENT_TWISTS |= {f"class:{name}": _untidy_class(*labels) for name, labels in _UNTIDY_CLASSES.items()}


@twist
def _odd_attributes(record: Record, rng: random.Random) -> None:
    """Lists, numbers, nesting, null, and an attribute named rotation that is not a rotation."""
    attributes = {"d": ["a", "b"], "speed": 12.5, "parts": {"wheels": 4}, "note": None, "rotation": "left"}
    put(record, rng, replace(spot(record.scene, rng), attributes=attributes))


@twist
def _relation_annotation(record: Record, rng: random.Random) -> None:
    first, second = spot(record.scene, rng), spot(record.scene, rng, 1)
    put(record, rng, first)
    put(record, rng, second)
    put(record, rng, Thing(new_id(rng), "relation", "follows", (first.id, second.id)))


@twist
def _keypoint_groups_annotation_list(record: Record, rng: random.Random) -> None:
    """Groups in the older form, ``annotationList`` with children."""
    group = new_id(rng)
    for number, name in enumerate(PERSON_POINTS):
        point = (record.scene.width // 2 - 4, 8 + 6 * number, 2)
        put(record, rng, Thing(new_id(rng), "keypoint", name, point, {}, group))
    members: dict[str, list[str]] = {}
    for thing in record.scene.things:
        if thing.group:
            members.setdefault(thing.group, []).append(thing.id)
    record.document["annotationGroups"]["image_1"] = [
        {"id": name, "annotationList": [{"annotationId": member, "children": []} for member in ids]}
        for name, ids in members.items()
    ]


@twist
def _keypoints_without_group(record: Record, rng: random.Random) -> None:
    for number, name in enumerate(PERSON_POINTS[:5]):
        point = (record.scene.width // 2 - 4, 8 + 6 * number, 2)
        put(record, rng, Thing(new_id(rng), "keypoint", name, point))


@twist
def _keypoint_group_incomplete(record: Record, rng: random.Random) -> None:
    """Five points of a person, and a group member that does not exist."""
    group = new_id(rng)
    for number, name in enumerate(PERSON_POINTS[:5]):
        point = (record.scene.width // 2 - 4, 8 + 6 * number, 2)
        put(record, rng, Thing(new_id(rng), "keypoint", name, point, {}, group))
    ids = [thing.id for thing in record.scene.things if thing.group == group]
    record.document["annotationGroups"]["image_1"].append({"id": group, "annotationIds": [*ids, new_id(rng)]})


@twist
def _keypoint_group_with_box(record: Record, rng: random.Random) -> None:
    """Five points of a person and the box around the whole of it, in one group."""
    group = new_id(rng)
    left = record.scene.width // 2 - 4
    put(record, rng, Thing(new_id(rng), "bounding_box", "person", (left - 4, 2, 8, 60, 0.0), {}, group))
    for number, name in enumerate(PERSON_POINTS[:5]):
        put(record, rng, Thing(new_id(rng), "keypoint", name, (left, 8 + 6 * number, 2), {}, group))
    ids = [thing.id for thing in record.scene.things if thing.group == group]
    record.document["annotationGroups"]["image_1"].append({"id": group, "annotationIds": ids})
