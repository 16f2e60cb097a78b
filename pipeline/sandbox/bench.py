"""The record that speed is measured with: 8 boxes, 2 polygons of 30 points, a person in 28 %; about 8 KB of JSON."""

import math
import random
from dataclasses import dataclass
from functools import cache

from pipeline.model.skeletons import PERSON_POINTS
from pipeline.sandbox.documents import blob_json, document_v1, inline_json
from pipeline.sandbox.scenes import Scene, Thing, new_id

POOL_SIZE = 512
IMAGE_SIZE = (1920, 1080)
_CLASSES = ("car", "bus", "truck", "person", "bicycle", "traffic_sign", "sidewalk", "가로수")
_HEAD = {"inline": b'{"assignmentId":', "blob": b'{"assignmentId": '}


@dataclass(frozen=True, slots=True)
class BenchDocument:
    """A document without its assignment id; ``inline`` and ``blob`` start after it."""

    scene: Scene
    inline: bytes
    blob: bytes


@cache
def bench_pool(seed: int) -> tuple[BenchDocument, ...]:
    """Return the documents that bench records share in turn."""
    return tuple(_document(random.Random(f"{seed}/bench/{number}"), number) for number in range(POOL_SIZE))


def bench_inline(seed: int, index: int, assignment_id: int) -> tuple[bytes, bytes]:
    """Return the inline document of a record in two pieces, so that the document is not copied."""
    return b'{"assignmentId":%d,' % assignment_id, bench_pool(seed)[index % POOL_SIZE].inline


def bench_blob(seed: int, index: int, assignment_id: int) -> bytes:
    """Return the document of a record as the object store holds it."""
    return b'{"assignmentId": %d, ' % assignment_id + bench_pool(seed)[index % POOL_SIZE].blob


def bench_scene(seed: int, index: int) -> Scene:
    """Return the scene that the document of a record describes."""
    return bench_pool(seed)[index % POOL_SIZE].scene


def _document(rng: random.Random, number: int) -> BenchDocument:
    width, height = IMAGE_SIZE
    scene = Scene("image_1", width, height)
    for _ in range(8):
        box_width, box_height = rng.uniform(20, 400), rng.uniform(20, 300)
        box = (rng.uniform(0, width - box_width), rng.uniform(0, height - box_height), box_width, box_height, 0.0)
        attributes = {"occluded": rng.random() < 0.5, "color": rng.choice(("red", "blue", "white"))}
        scene.things.append(Thing(new_id(rng), "bounding_box", rng.choice(_CLASSES), box, attributes))
    for _ in range(2):
        x, y, radius = rng.uniform(200, width - 200), rng.uniform(200, height - 200), rng.uniform(30, 190)
        points = tuple(
            (x + radius * math.cos(turn) * rng.uniform(0.6, 1), y + radius * math.sin(turn) * rng.uniform(0.6, 1))
            for turn in (2 * math.pi * i / 30 for i in range(30))
        )
        scene.things.append(Thing(new_id(rng), "polygon", rng.choice(_CLASSES), points))
    if number % 25 < 7:
        group = new_id(rng)
        left, top = rng.uniform(0, width - 120), rng.uniform(0, height - 300)
        for name in PERSON_POINTS:
            point = (left + rng.uniform(0, 120), top + rng.uniform(0, 300), rng.choice((1, 2, 2, 2)))
            scene.things.append(Thing(new_id(rng), "keypoint", name, point, {}, group))
    document = document_v1(rng, [scene], 0)
    inline, blob = inline_json(document, {}), blob_json(document, {})
    return BenchDocument(scene, inline[len(_HEAD["inline"]) + 2 :], blob[len(_HEAD["blob"]) + 3 :])
