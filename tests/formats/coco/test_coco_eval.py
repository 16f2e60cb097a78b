"""pycocotools' own evaluation finds an export identical to what the platform holds, whichever of the two is the truth.

The platform's side comes from the sandbox and is made into COCO here, without any code of the package.
"""

import contextlib
import copy
import csv
import io
import json
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exporting import export

# pycocotools 2.0.11 decodes through an old form of numpy's array protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PERSON = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
SKELETONS = {"head": PERSON[:5], "person": PERSON}
DUPLICATE = "DUPLICATE_ANNOTATION"
KEPT_ALL_THE_SAME = (DUPLICATE, "BOX_TURNED_ROUND", "CLASS_NAME_TIDIED")
DRAWN = {"instances": ("bounding_box", "polygon", "segmentation"), "stuff": ("segmentation",)}


@pytest.fixture(scope="module", params=["tidy", "nasty"])
def data(request, tmp_path_factory):
    """The name of the sandbox, its truth, and folders with an export of it for each choice of masks."""
    sandbox = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    for masks in ("instance", "semantic"):
        export(
            sandbox, folder / masks, formats=[{"coco": {"box_segmentation": "rectangle"}}], masks=masks,
            max_failures="100%", skeletons={name: {"points": points} for name, points in SKELETONS.items()},
        )  # fmt: skip
    return request.param, sandbox.truth("task"), folder


def exported(folder, kind, left_out):
    """The files of a kind, of all splits, as one, without some images."""
    files = [json.loads(path.read_bytes()) for path in sorted(folder.glob(f"annotations/{kind}_*.json"))]
    assert all(file["categories"] == files[0]["categories"] for file in files)
    return {
        "info": {},
        "categories": files[0]["categories"],
        "images": [image for file in files for image in file["images"] if image["id"] not in left_out],
        "annotations": [item for file in files for item in file["annotations"] if item["image_id"] not in left_out],
    }


def rows_of(folder):
    return list(csv.DictReader((folder / "metadata/records.csv").read_text().splitlines()))


def doubtful(folder, records):
    """Images whose document and picture disagree about the width by which masks count their pixels."""
    kinds = {record.key: record.kind for record in records}
    return {int(row["image_id"]) for row in rows_of(folder) if kinds[int(row["record_id"])] == "size_wrong"}


def truth_of(folder, records, kind, written):
    """What the files of a kind should hold of the images that were exported."""
    media = {(record.key, media.media): media for record in records for media in record.media}
    images = {image["id"]: image for image in written["images"]}
    categories = {category["name"]: category["id"] for category in written["categories"]}
    annotations = []
    for row in rows_of(folder):
        image = images.get(int(row["image_id"]))
        known = media.get((int(row["record_id"]), row["media"]))  # None for a file without annotations
        if image and known:
            # Of two annotations with the same id the second one is at fault; others were put right.
            things = [thing for thing in known.things if known.faulty.get(thing.id, DUPLICATE) in KEPT_ALL_THE_SAME]
            size = (image["width"], image["height"])
            made = (
                drawn(things, DRAWN[kind], size, categories)
                if kind in DRAWN
                else people(things, kind, size, categories)
            )
            annotations += [{**annotation, "image_id": image["id"]} for annotation in made]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {**written, "annotations": annotations}


def drawn(things, tools, size, categories):
    """The boxes, polygons and masks among things."""
    makers = {"bounding_box": box, "polygon": polygon, "segmentation": mask}
    for thing in things:
        found = makers[thing.tool](thing.geometry, size) if thing.tool in tools else None
        if found:
            yield {"category_id": categories[thing.label], "iscrowd": 0, **found}


def box(geometry, size):
    """A box cut at the border of the image; a turned one is an outline."""
    x, y, width, height, rotation = geometry
    if abs(math.sin(2 * rotation)) > 1e-6:
        middle, arm = complex(x + width / 2, y + height / 2), complex(width / 2, height / 2)
        turn = complex(math.cos(rotation), math.sin(rotation))
        ends = [middle + turn * corner for corner in (-arm, arm.conjugate(), arm, -arm.conjugate())]
        return polygon([(end.real, end.imag) for end in ends], size)
    if abs(math.sin(rotation)) > 0.5:
        x, y, width, height = x + (width - height) / 2, y + (height - width) / 2, height, width
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, size[0]), min(y + height, size[1])
    if right - left < 1e-3 or bottom - top < 1e-3:
        return None
    bbox = [left, top, right - left, bottom - top]
    outline = [left, top, right, top, right, bottom, left, bottom]
    return {"bbox": bbox, "area": bbox[2] * bbox[3], "segmentation": [outline]}


def polygon(points, size):
    """An outline as it is; None for one without a pixel in the image."""
    across, down = zip(*points, strict=True)
    corners = list(zip(points, [*points[1:], points[0]], strict=True))
    area = abs(sum(first[0] * second[1] - second[0] * first[1] for first, second in corners)) / 2
    bbox = [min(across), min(down), max(across) - min(across), max(down) - min(down)]
    outline = [number for point in points for number in point]
    painted = coco_mask.merge(coco_mask.frPyObjects([outline], size[1], size[0]))
    return {"bbox": bbox, "area": area, "segmentation": [outline]} if coco_mask.area(painted) else None


def mask(runs, size):
    """A mask painted pixel by pixel."""
    bitmap = np.zeros(size[0] * size[1], dtype=np.uint8)
    for start, length in runs:
        for pixel in range(start, start + length):
            bitmap[pixel] = 1
    encoded = coco_mask.encode(np.asfortranarray(bitmap.reshape(size[1], size[0])))
    area = float(coco_mask.area(encoded))
    return {"bbox": coco_mask.toBbox(encoded).tolist(), "area": area, "segmentation": encoded} if area else None


def people(things, kind, size, categories):
    """The groups of keypoints that are objects of the skeleton a kind of file is of."""
    groups = {}
    for thing in things:
        if thing.group:
            groups.setdefault(thing.group, []).append(thing)
    for members in groups.values():
        placed = {thing.label: thing.geometry for thing in members if thing.tool == "keypoint"}
        name = next((name for name, points in SKELETONS.items() if set(placed) <= set(points)), None)
        if not placed or kind != f"{name}_keypoints":
            continue
        triples = [placed.get(point, (0, 0, 0)) for point in SKELETONS[name]]
        seen = [(x, y) for x, y, visibility in triples if visibility]
        around = [thing for thing in members if thing.tool == "bounding_box"]
        boxes = [box(thing.geometry, size)["bbox"] for thing in around]
        left, top = (min(axis) for axis in zip(*seen, strict=True))
        right, bottom = (max(axis) for axis in zip(*seen, strict=True))
        bbox = boxes[0] if boxes else [left, top, right - left, bottom - top]
        if bbox[2] < 1:
            bbox[0], bbox[2] = left + (right - left - 1) / 2, 1
        if bbox[3] < 1:
            bbox[1], bbox[3] = top + (bottom - top - 1) / 2, 1
        yield {
            "category_id": categories[around[0].label if around else name],
            "keypoints": [number for triple in triples for number in triple],
            "num_keypoints": len(seen),
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
        }


def indexed(content):
    """A dataset of pycocotools, which prints while it is made and writes into what it is given."""
    made = COCO()
    made.dataset = copy.deepcopy(content)
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made


def scores(truth, detections, measure):
    """Average precision and recall, over all thresholds of overlap."""
    expected = indexed(truth)
    found = indexed({**detections, "annotations": [{**item, "score": 1.0} for item in detections["annotations"]]})
    evaluation = COCOeval(expected, found, measure)
    evaluation.params.maxDets = [100]
    if measure == "keypoints":
        points = len(truth["categories"][0]["keypoints"])
        evaluation.params.kpt_oks_sigmas = np.full(points, 0.05)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    return precision[precision > -1].mean(), recall[recall > -1].mean()


CASES = [
    ("instance", "instances", "bbox", 150),
    ("instance", "instances", "segm", 150),
    ("semantic", "stuff", "bbox", 20),
    ("semantic", "stuff", "segm", 20),
    ("instance", "person_keypoints", "keypoints", 10),
    ("instance", "head_keypoints", "keypoints", 0),
]


@pytest.mark.parametrize(("masks", "kind", "measure", "least"), CASES, ids=str)
def test_the_export_and_the_platform_agree_both_ways(data, masks, kind, measure, least):
    name, records, folder = data
    written = exported(folder / masks, kind, doubtful(folder / masks, records))
    truth = truth_of(folder / masks, records, kind, written)
    assert len(written["annotations"]) == len(truth["annotations"])
    if kind == "head_keypoints" and name == "tidy":
        assert not written["annotations"]
        return
    assert len(written["annotations"]) > least
    assert scores(truth, written, measure) == pytest.approx((1.0, 1.0))
    assert scores(written, truth, measure) == pytest.approx((1.0, 1.0))


def smaller_box(annotation):
    x, y, width, height = annotation["bbox"]
    return {**annotation, "bbox": [x, y, width * 0.9, height]}


def without_its_bottom(annotation):
    bitmap = coco_mask.decode(annotation["segmentation"])
    rows = np.flatnonzero(bitmap.any(axis=1))
    bitmap[rows[len(rows) * 9 // 10] :] = 0
    return {**annotation, "segmentation": coco_mask.encode(np.asfortranarray(bitmap))}


def without_a_nose(annotation):
    return {**annotation, "keypoints": [0, 0, 0, *annotation["keypoints"][3:]]}


@pytest.mark.parametrize(
    ("masks", "kind", "measure", "spoil"),
    [
        ("instance", "instances", "bbox", smaller_box),
        ("semantic", "stuff", "segm", without_its_bottom),
        ("instance", "person_keypoints", "keypoints", without_a_nose),
    ],
)
def test_the_evaluation_would_notice(data, masks, kind, measure, spoil):
    _, records, folder = data
    written = exported(folder / masks, kind, doubtful(folder / masks, records))
    truth = truth_of(folder / masks, records, kind, written)
    spoilt = {**written, "annotations": [spoil(annotation) for annotation in written["annotations"]]}
    assert scores(truth, spoilt, measure)[0] < 0.95
