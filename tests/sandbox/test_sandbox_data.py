"""The data: the same seed gives the same bytes, pictures show what annotations say, nothing tidy is malformed."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.sandbox import EVERY_KIND_RECORDS, NASTY_KINDS, UNPARSABLE_KINDS, SandboxOptions
from pipeline.sandbox.data import FOREIGN_ROWS, SandboxData
from pipeline.sandbox.pictures import box_corners, draw, picture_bytes
from pipeline.sandbox.scenes import KEYPOINT_COLOUR, Scene, Thing, colour_of, ellipse_runs

DIGEST = """
import hashlib
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.pictures import picture_bytes
from pipeline.sandbox.data import SandboxData
total = hashlib.sha256()
for profile in ("tidy", "nasty", "bench"):
    data = SandboxData(SandboxOptions(profile=profile, records=40, seed=7))
    for i in range(len(data)):
        total.update(repr(data.facts(i)).encode() + b"".join(data.inline(i)) + data.blob(i))
        for file in (data.record(i).files or ()) if profile != "bench" else ():
            total.update(repr(file.info).encode() + picture_bytes(file))
print(total.hexdigest())
"""


def sandbox_data(profile, records=60, **options):
    return SandboxData(SandboxOptions(profile=profile, records=records, **options))


def own(data):
    return [data.record(index) for index in range(FOREIGN_ROWS, len(data))]


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_two_servers_with_one_seed_answer_alike_and_another_seed_differently(start, get):
    def answer(**options):
        sandbox = start(**options)
        text = get(sandbox, "/sdk/tasks/", expand="data_unit", page_size=100).text
        return re.sub(r"X-Exp=\d+&X-Sig=\w+", "", text.replace(sandbox.url, ""))

    assert answer(seed=3) == answer(seed=3)
    assert answer(seed=3) != answer(seed=4)


def test_more_records_do_not_change_the_first_ones():
    few, many = sandbox_data("tidy", 10), sandbox_data("tidy", 50)
    assert [few.inline(i) for i in range(13)] == [many.inline(i) for i in range(13)]
    assert few.keys["task"] == many.keys["task"][:13]


def pixels_of(thing, size):
    """Points, in pixels, that must show the thing's colour."""
    match thing.tool:
        case "bounding_box":
            corners = np.asarray(box_corners(thing.geometry))
            return (corners * 0.86 + corners.mean(axis=0) * 0.14).tolist()
        case "polygon":
            return [np.mean(thing.geometry, axis=0).tolist()]
        case "segmentation":
            runs = sorted(thing.geometry, key=lambda run: run[1])[-3:]
            return [((start + length // 2) % size[0], (start + length // 2) // size[0]) for start, length in runs]
        case "polyline":
            return [thing.geometry[1], thing.geometry[2]]
        case "keypoint" if thing.geometry[2]:
            return [thing.geometry[:2]]
    return []


def assert_shown(scene, image, tolerance):
    pixels = np.asarray(image.convert("RGB"), dtype=int)
    assert pixels.shape[:2] == (scene.height, scene.width)
    for thing in scene.things:
        colour = KEYPOINT_COLOUR if thing.tool == "keypoint" else colour_of(thing.label)
        for x, y in pixels_of(thing, image.size):
            column, row = min(int(x), scene.width - 1), min(int(y), scene.height - 1)
            assert np.abs(pixels[row, column] - colour).max() <= tolerance, thing


def test_pictures_show_every_object_where_its_annotation_says():
    seen = Counter()
    for record in own(sandbox_data("tidy")):
        image = Image.open(io.BytesIO(picture_bytes(record.original)))
        assert image.format == ("PNG" if record.original.extension == "png" else "JPEG")
        assert_shown(record.scene, image, 0 if image.format == "PNG" else 40)
        seen.update(thing.tool for thing in record.scene.things)
    assert {"bounding_box", "polygon", "segmentation", "keypoint", "polyline", "classification"} <= set(seen)


def test_rotated_boxes_are_drawn_turned_about_their_centre():
    records = own(sandbox_data("nasty", 6, kinds=("rotated_boxes",)))[1::2]
    assert len(records) == 3
    for record in records:
        turned = [thing for thing in record.scene.things if thing.tool == "bounding_box"]
        assert turned
        assert all(thing.geometry[4] for thing in turned)
        scene = Scene("image_1", record.scene.width, record.scene.height, turned[-1:])
        assert_shown(scene, draw(scene), 0)


def test_the_corners_of_a_quarter_turn():
    corners = np.asarray(box_corners((10, 20, 40, 20, np.pi / 2)))
    assert np.allclose(corners, [(40, 10), (40, 50), (20, 50), (20, 10)])


def test_holes_of_masks_are_not_filled():
    runs = ellipse_runs((50, 40), (30, 25), (100, 80), hole=True)
    scene = Scene("image_1", 100, 80, [Thing("m", "segmentation", "car", runs)])
    image = draw(scene)
    assert image.getpixel((50, 40)) != colour_of("car")
    assert image.getpixel((50 - 25, 40)) == colour_of("car")
    assert sum(length for _, length in runs) == sum(
        image.getpixel((x, y)) == colour_of("car") for x in range(100) for y in range(80)
    )


def test_tidy_names_are_unique_and_sizes_are_those_of_the_pictures():
    records = own(sandbox_data("tidy"))
    names = [record.original.info["file_name_original"] for record in records]
    assert len(set(names)) == len(names) == 60
    for record in records[:10]:
        with Image.open(io.BytesIO(picture_bytes(record.original))) as image:
            size = {"width": image.width, "height": image.height}
        assert record.original.info["meta"] == record.document["extra"]["image_1"] == size


def test_tidy_data_has_backgrounds_holes_korean_and_one_class_nobody_configured(tidy, get):
    truth = tidy.truth("task")
    labels = {thing.label for record in truth for thing in record.annotations}
    configuration = get(tidy, f"/projects/{tidy.project_id}/").json()["configuration"]["classification"]
    configured = {entry["code"] for tool in configuration.values() for entry in tool["classification_schema"]}
    assert labels - configured == {"scooter"}
    assert "가로수" in labels
    assert any(not record.annotations for record in truth)


def test_tidy_documents_say_what_the_truth_says(tidy, walk):
    rows = {row["id"]: row for row in walk(tidy, "/sdk/tasks/", project=tidy.project_id)}
    for record in tidy.truth("task"):
        document = rows[record.key]["data"]
        entries = {entry["id"]: entry for entry in document["annotationsData"]["image_1"]}
        assert [a["id"] for a in document["annotations"]["image_1"]] == [t.id for t in record.annotations]
        assert set(entries) == {t.id for t in record.annotations}
        for annotation, thing in zip(document["annotations"]["image_1"], record.annotations, strict=True):
            assert (annotation["tool"], annotation["classification"]["class"]) == (thing.tool, thing.label)
            if thing.tool == "segmentation":
                assert entries[thing.id]["pixel_indices"] == [list(run) for run in thing.geometry]


def test_the_targets_have_keys_of_their_own_over_the_same_data_units(tidy, walk):
    tasks = walk(tidy, "/sdk/tasks/", project=12, expand="data_unit", ordering="id")
    assignments = walk(tidy, "/sdk/assignments/", project=12, ordering="id")
    events = walk(tidy, "/sdk/ground_truth_events/", ground_truth_dataset_versions=99, ordering="pgh_id")
    for task, assignment, event in zip(tasks, assignments, events, strict=True):
        assert task["data_unit"]["id"] == assignment["data_unit"]["id"] == event["data_unit"]["id"]
        assert task["id"] == assignment["task"]["id"] == event["task"]
        assert task["data"] == assignment["data"] == event["data"]
        assert len({task["id"], assignment["id"], event["pgh_id"]}) == 3
    gaps = np.diff([task["id"] for task in tasks])
    assert gaps.min() == 1
    assert gaps.max() > 1
    assert [task["created"] for task in tasks] == sorted(task["created"] for task in tasks)
    assert len({task["created"] for task in tasks}) < len(tasks)


def test_every_malformation_occurs_among_enough_records_with_clean_ones_between():
    kinds = Counter(record.kind for record in own(sandbox_data("nasty", EVERY_KIND_RECORDS)))
    assert set(NASTY_KINDS) | {"tidy"} == set(kinds)
    assert kinds["tidy"] == EVERY_KIND_RECORDS // 4


def test_nasty_documents_are_json_except_where_they_should_not_be():
    data = sandbox_data("nasty", EVERY_KIND_RECORDS)
    refused = set()
    for record in own(data):
        try:
            inline, blob = (json.loads(text) for text in (b"".join(data.inline(record.index)), data.blob(record.index)))
        except (RecursionError, ValueError):
            refused.add(record.kind)
        else:
            assert repr(inline) == repr(blob)
    assert refused == {"deep_json", "huge_integer"} < set(UNPARSABLE_KINDS)


def test_nasty_pictures_are_damaged_as_told():
    styles = {}
    for record in own(sandbox_data("nasty", 10, kinds=("truncated_image", "empty_image", "exif_rotated"))):
        styles[record.kind] = picture_bytes(record.original)
    assert styles["empty_image"] == b""
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(styles["truncated_image"])).load()
    assert Image.open(io.BytesIO(styles["exif_rotated"])).getexif()[0x0112] == 6


def test_nasty_ground_truth_repeats_ids_and_leaves_categories_open(start):
    truth = start(profile="nasty", records=60).truth("ground_truth")
    assert len({record.key for record in truth}) == 60
    assert len({record.id for record in truth}) < 60
    assert {record.category for record in truth} == {"train", "validation", "test", None}


def test_malformed_annotations_are_in_the_document_but_not_in_the_truth():
    for record in own(sandbox_data("nasty", EVERY_KIND_RECORDS)):
        text = json.dumps(record.document)
        expected = {thing.id for scene in record.scenes for thing in scene.things}
        for scene in record.scenes:
            for annotation_id, reason in scene.faulty.items():
                assert annotation_id in text
                is_kept = reason in ("DUPLICATE_ANNOTATION", "BOX_TURNED_ROUND", "CLASS_NAME_TIDIED")
                assert annotation_id not in expected or is_kept
        assert all(json.dumps(thing_id)[1:-1] in text for thing_id in expected)


def test_bench_records_are_those_of_the_performance_figures():
    data = sandbox_data("bench", 500)
    sizes = [len(b"".join(data.inline(index))) for index in range(500)]
    assert 7_800 < np.mean(sizes) < 8_400
    tools = Counter(thing.tool for index in range(500) for thing in data.truth("task", index).annotations)
    assert tools["bounding_box"] == 8 * 500
    assert tools["polygon"] == 2 * 500
    assert tools["keypoint"] / 17 / 500 == pytest.approx(0.28, abs=0.01)
    assert json.loads(b"".join(data.inline(7))) == json.loads(data.blob(7))
    assert json.loads(data.blob(7))["assignmentId"] == data.keys["assignment"][7]


def test_pictures_too_small_to_draw_on_are_refused():
    with pytest.raises(ConfigError, match="72 pixels or more"):
        SandboxOptions(image_size=(64, 48))
