"""Write scenes as annotation documents, in the dialects of the platform (contract, section 6)."""

import json
import random
from collections.abc import Sequence
from typing import Any

from pipeline.sandbox.scenes import Scene, Thing

type Json = dict[str, Any]

VISIBILITY = ("missing", "occluded", "visible")
_FLAT_TYPES = {"bounding_box": "bbox"}


def document_v1(rng: random.Random, scenes: Sequence[Scene], assignment_id: int | None) -> Json:
    """Return a DM Schema v1 document: ``annotations`` and ``annotationsData`` are joined by id, not by position."""
    document: Json = {} if assignment_id is None else {"assignmentId": assignment_id}
    document["extra"] = {scene.media: {"width": scene.width, "height": scene.height} for scene in scenes}
    document["annotations"] = {scene.media: [annotation_v1(thing) for thing in scene.things] for scene in scenes}
    document["annotationsData"] = {}
    for scene in scenes:
        entries = [{"id": thing.id, **geometry_v1(rng, thing)} for thing in scene.things]
        if rng.random() < 0.3:
            rng.shuffle(entries)
        document["annotationsData"][scene.media] = entries
    document["relations"] = {scene.media: [] for scene in scenes}
    document["annotationGroups"] = {scene.media: groups(scene.things) for scene in scenes}
    return document


def annotation_v1(thing: Thing) -> Json:
    """Return the entry of ``annotations[media]``."""
    classification: Json = {"class": thing.label, **thing.attributes}
    if thing.tool == "keypoint":
        classification["visibility"] = VISIBILITY[thing.geometry[2]]
    labels = [thing.label, *(value for value in thing.attributes.values() if isinstance(value, str))]
    return {
        "id": thing.id,
        "tool": thing.tool,
        "isLocked": False,
        "isVisible": True,
        "isValid": True,
        "isDrawCompleted": True,
        "classification": classification,
        "label": labels,
    }


def geometry_v1(rng: random.Random, thing: Thing) -> Json:
    """Return the entry of ``annotationsData[media]`` without its id."""
    match thing.tool:
        case "bounding_box":
            x, y, width, height, rotation = thing.geometry
            coordinate = {"x": x, "y": y, "width": width, "height": height}
            return {"coordinate": {**coordinate, "rotation": rotation} if rotation else coordinate}
        case "polygon" | "polyline":
            return {"coordinate": [{"x": x, "y": y, "id": f"{rng.randrange(16**4):04x}"} for x, y in thing.geometry]}
        case "keypoint":
            return {"coordinate": {"x": thing.geometry[0], "y": thing.geometry[1]}}
        case "segmentation" if not isinstance(thing.geometry, dict):
            return {"pixel_indices": runs(thing), "isCompressed": True, "compressionFormat": "rle"}
        case "relation":
            return {"annotationId": thing.geometry[0], "targetAnnotationId": thing.geometry[1]}
        case _:
            return dict(thing.geometry or {})


def groups(things: Sequence[Thing]) -> list[Json]:
    """Return ``annotationGroups[media]``: one entry per group, with the ids of its members."""
    members: dict[str, list[str]] = {}
    for thing in things:
        if thing.group:
            members.setdefault(thing.group, []).append(thing.id)
    return [{"id": group, "annotationIds": ids} for group, ids in members.items()]


def runs(thing: Thing) -> list[list[int]]:
    """Return the runs of a mask as JSON lists."""
    return [[start, length] for start, length in thing.geometry]


def document_v2(scenes: Sequence[Scene], *, bare: bool = False) -> Json:
    """Return a DM Schema v2 document; ``bare`` leaves out the class list, as documents of older projects do."""
    classes: dict[str, list[str]] = {}
    images: list[Json] = []
    for scene in scenes:
        item: Json = {}
        for thing in scene.things:
            classes.setdefault(thing.tool, [])
            if thing.label not in classes[thing.tool]:
                classes[thing.tool].append(thing.label)
            item.setdefault(thing.tool, []).append(_item_v2(thing))
        images.append(item)
    return {"images": images} if bare else {"classification": classes, "images": images}


def _item_v2(thing: Thing) -> Json:
    attributes = [{"name": name, "value": value} for name, value in thing.attributes.items()]
    item: Json = {"id": thing.id, "classification": thing.label, "attrs": attributes, "data": thing.geometry}
    match thing.tool:
        case "bounding_box":
            item["data"] = list(thing.geometry[:4])
            if thing.geometry[4]:
                attributes.append({"name": "rotation", "value": thing.geometry[4]})
        case "polygon" | "polyline":
            item["data"] = [list(point) for point in thing.geometry]
        case "keypoint":
            item |= {"data": list(thing.geometry[:2]), "visibility": thing.geometry[2], "group_id": thing.group}
        case "segmentation":
            item |= {"data": runs(thing), "encoding": "dm_rle", "isCompressed": True, "compressionFormat": "rle"}
        case _:
            item["data"] = {}
    return item


def flat_annotation(thing: Thing) -> Json:
    """Return an annotation in the flat form (``type``, ``data``, ``classification``), with its geometry in it."""
    kind = _FLAT_TYPES.get(thing.tool, thing.tool)
    return {"id": thing.id, "type": kind, "data": flat_geometry(thing), "classification": thing.label}


def flat_geometry(thing: Thing) -> list[Any] | Json:
    """Return geometry in the flat form: plain lists, no rotation, no masks."""
    match thing.tool:
        case "bounding_box":
            return list(thing.geometry[:4])
        case "polygon" | "polyline":
            return [list(point) for point in thing.geometry]
        case "keypoint":
            return list(thing.geometry[:2])
        case _:
            return {}


def document_flat(scenes: Sequence[Scene]) -> Json:
    """Return a document in the flat form."""
    return {
        "annotations": {scene.media: [flat_annotation(thing) for thing in scene.things] for scene in scenes},
        "annotationsData": {
            scene.media: [{"id": thing.id, "type": _FLAT_TYPES.get(thing.tool, thing.tool)} for thing in scene.things]
            for scene in scenes
        },
    }


def inline_json(document: Any, literals: dict[str, str]) -> bytes:
    """Return a document as the API embeds it in a row: compact UTF-8. ``literals`` replace strings by raw JSON."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return _with_literals(text, literals)


def blob_json(document: Any, literals: dict[str, str]) -> bytes:
    """Return the document as the object store holds it: the same keys in order, other spaces and escapes."""
    return _with_literals(json.dumps(document), literals)


def _with_literals(text: str, literals: dict[str, str]) -> bytes:
    for marker, literal in literals.items():
        text = text.replace(f'"{marker}"', literal)
    return text.encode()
