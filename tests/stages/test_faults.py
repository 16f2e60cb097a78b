"""Inputs that once came out wrong, from a document and a file at a server to the files of an export."""

import csv
import io
import json

import numpy as np
import pytest
import yaml
from aiohttp import web
from PIL import Image

from exporting import environment_of
from pipeline.config.loading import parse_config
from pipeline.run import run
from synapse.local_api import TinySynapse, task


def encoded(size, form="JPEG", orientation=1, mode="RGB"):
    """A picture whose quarters differ, stored with an orientation of EXIF."""
    width, height = size
    image = Image.new("RGB", size)
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))):
        left, top = number % 2 * width // 2, number // 2 * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    image = image.convert(mode)
    options = {"save_all": True, "append_images": [image]} if form == "MPO" else {}
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def annotated(*things, size=None, groups=(), meta="extra"):
    """A document of one image; a thing is ``(id, tool, class, members of its entry)``."""
    document = {
        "annotations": {
            "image_1": [{"id": name, "tool": tool, "classification": {"class": kind}} for name, tool, kind, _ in things]
        },
        "annotationsData": {"image_1": [{"id": name, **entry} for name, _, _, entry in things]},
        "annotationGroups": {"image_1": list(groups)},
    }
    if size:
        document[meta] = {"image_1": {"width": size[0], "height": size[1]}}
    return document


def box(name, kind, x, y, width, height):
    return name, "bounding_box", kind, {"coordinate": {"x": x, "y": y, "width": width, "height": height}}


def polygon(name, kind, *points):
    return name, "polygon", kind, {"coordinate": [{"x": x, "y": y} for x, y in points]}


def rectangle_mask(name, kind, canvas, left, top, width, height):
    plane = np.zeros((canvas[1], canvas[0]), dtype=bool)
    plane[top : top + height, left : left + width] = True
    return name, "segmentation", kind, {"pixel_indices": np.flatnonzero(plane).tolist()}


def point(name, kind, x, y, visibility="visible"):
    where = {"coordinate": {"x": x, "y": y}}
    return name, "keypoint", kind, where, visibility


def exported(path, *images, more=(), **overrides):
    """Export ``(document, file, name)`` images as tasks 1, 2 …; ``more`` is in the info of each file."""
    rows, files, more = [], {}, dict(more)
    for number, (document, data, name) in enumerate(images, start=1):
        rows.append(task(number, data=document))
        rows[-1]["data_unit"]["files"]["image_1"] |= {"url": f"/media/{number}", "file_name_original": name, **more}
        files[f"/media/{number}"] = data

    def fetch(request):
        data, span = files[request.path], request.http_range
        if request.headers.get("Range") and (span.start or span.stop):
            part = data[span]
            return web.Response(
                status=206, body=part, headers={"Content-Range": f"bytes 0-{len(part) - 1}/{len(data)}"}
            )
        return web.Response(body=data)

    values = {
        "name": "faults", "target": "task", "filter": {"project": 12}, "path": str(path),
        "formats": ["coco", "yolo", {"yolo": {"task": "segment", "folder": "segment"}}, "voc", "csv"],
        "split": {"by": "none"}, **overrides, "run": {"executor": "serial"},
    }  # fmt: skip
    with TinySynapse(rows, fetch=fetch) as api, environment_of(api.environment()):
        return run(parse_config(yaml.safe_dump(values)))


def coco(path, kind="instances", split="train"):
    return json.loads((path / f"annotations/{kind}_{split}.json").read_text())


def losses(path):
    return {
        (loss["format"], reason["reason"])
        for loss in map(json.loads, (path / "metadata/losses.jsonl").read_text().splitlines())
        for reason in (loss,)
    }


def rows_of(path, folder=""):
    return sorted(line for file in (path / folder / "labels").rglob("*.txt") for line in file.read_text().splitlines())


# Frames of reference; turned pictures are in test_frames.py


@pytest.mark.parametrize("exif", ["record", "bake"])
def test_a_mask_never_lands_on_other_pixels(tmp_path, exif):
    """80 x 60, said to be 60 x 80: one mask is outside, of the other the lower half."""
    document = annotated(
        rectangle_mask("out", "road", (60, 80), 5, 65, 10, 10),
        rectangle_mask("cut", "road", (60, 80), 5, 55, 10, 10),
        size=(60, 80),
    )
    exported(tmp_path, (document, encoded((80, 60)), "a.jpg"), exif=exif)
    (written,) = coco(tmp_path)["annotations"]
    assert (written["bbox"], written["area"]) == ([5.0, 55.0, 10.0, 5.0], 50.0)
    for name in ("coco", "yolo_segment", "voc", "csv"):
        assert {(name, "OUTSIDE_IMAGE"), (name, "CLIPPED_TO_IMAGE")} <= losses(tmp_path)
    (row,) = rows_of(tmp_path, "segment")
    assert row == "0 0.062500 0.916667 0.187500 0.916667 0.187500 1.000000 0.062500 1.000000"


# At the border, and outlines that cross themselves


def test_a_polygon_that_crosses_itself_is_kept_with_the_area_that_is_painted(tmp_path):
    drawn = annotated(polygon("p", "car", (20, 10), (120, 90), (120, 10), (20, 90)), size=(200, 100))
    exported(tmp_path, (drawn, encoded((200, 100)), "a.jpg"))
    (written,) = coco(tmp_path)["annotations"]
    assert written["area"] == 4000
    assert len(rows_of(tmp_path, "segment")) == 1
    assert not {reason for _, reason in losses(tmp_path)} & {"INVALID_POLYGON"}


# What belongs together


POINTS = ("left_eye", "right_eye", "mouth")


def people(*members):
    """A document of objects: ``(group, class of the group, box, points)``."""
    things, groups, hidden = [], [], {}
    for number, (label, boxed, points) in enumerate(members):
        ids = []
        for name, x, y, visibility in points:
            things.append((f"{number}{name}", "keypoint", name, {"coordinate": {"x": x, "y": y}}))
            hidden[f"{number}{name}"] = visibility
            ids.append(f"{number}{name}")
        if boxed:
            things.append(box(f"{number}box", *boxed))
            ids.append(f"{number}box")
        groups.append(
            {"id": f"g{number}", "annotationIds": ids, **({"classification": {"class": label}} if label else {})}
        )
    document = annotated(*things, size=(400, 300), groups=groups)
    for annotation in document["annotations"]["image_1"]:
        if annotation["id"] in hidden:
            annotation["classification"]["visibility"] = hidden[annotation["id"]]
    return document


def seen(x, y):
    return [(name, x + 10 * number, y, "visible") for number, name in enumerate(POINTS)]


UNSEEN = [(name, 0, 0, "missing") for name in POINTS]
POSE = {"formats": ["coco", {"yolo": {"task": "pose"}}, "csv"]}


def test_objects_of_points_have_the_class_of_their_box(tmp_path):
    document = people(("", ("dog", 10, 10, 60, 80), seen(20, 40)), ("", ("cat", 100, 10, 60, 80), seen(110, 40)))
    exported(tmp_path, (document, encoded((400, 300)), "a.jpg"), **POSE)
    settings = yaml.safe_load((tmp_path / "data.yaml").read_text())
    names = settings["names"]
    assert sorted(names[int(row.split()[0])] for row in rows_of(tmp_path)) == ["cat", "dog"]
    content = coco(tmp_path, "keypoints_keypoints")
    categories = {category["id"]: category["name"] for category in content["categories"]}
    assert [categories[item["category_id"]] for item in content["annotations"]] == ["dog", "cat"]
    assert settings["flip_idx"] == [2, 1, 0]  # left_eye, mouth, right_eye


def test_the_class_of_a_group_is_that_of_its_object_and_in_the_tables(tmp_path):
    document = people(("jaguar", ("animal", 10, 10, 60, 80), seen(20, 40)), ("antelope", None, seen(110, 40)))
    exported(tmp_path, (document, encoded((400, 300)), "a.jpg"), **POSE)
    settings = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert [settings["names"][int(row.split()[0])] for row in rows_of(tmp_path)] == ["antelope", "jaguar"]
    with (tmp_path / "annotations.csv").open(encoding="utf-8", newline="") as lines:
        assert {row["group_class"] for row in csv.DictReader(lines)} == {"jaguar", "antelope"}


def test_an_object_whose_points_were_never_seen_is_where_its_box_is(tmp_path):
    exported(tmp_path, (people(("", ("dog", 20, 180, 60, 80), UNSEEN)), encoded((400, 300)), "a.jpg"), **POSE)
    assert rows_of(tmp_path) == ["0 0.125000 0.733333 0.150000 0.266667" + " 0.000000 0.000000 0" * 3]
    (item,) = coco(tmp_path, "keypoints_keypoints")["annotations"]
    assert (item["num_keypoints"], item["bbox"]) == (0, [20.0, 180.0, 60.0, 80.0])


def test_without_mirror_images_flip_idx_is_left_out_and_the_summary_says_how_to_give_them(tmp_path):
    points = [("L_eye", 20, 40, "visible"), ("R_eye", 40, 40, "visible"), ("mouth", 30, 60, "visible")]
    exported(tmp_path, (people(("", None, points)), encoded((400, 300)), "a.jpg"), **POSE)
    assert "flip_idx" not in yaml.safe_load((tmp_path / "data.yaml").read_text())
    warnings = json.loads((tmp_path / "metadata/export_summary.json").read_text())["warnings"]
    assert any("mirror" in warning and "flip" in warning for warning in warnings)


def test_shapes_of_one_group_have_its_id_or_are_a_loss(tmp_path):
    document = annotated(
        polygon("p", "car", (10, 10), (50, 10), (50, 50)), polygon("q", "car", (60, 10), (90, 10), (90, 50)),
        box("b", "car", 100, 10, 20, 20), size=(200, 100), groups=[{"id": "both", "annotationIds": ["p", "q"]}],
    )  # fmt: skip
    exported(tmp_path, (document, encoded((200, 100)), "a.jpg"))
    assert [item.get("group") for item in coco(tmp_path)["annotations"]] == ["both", "both", None]
    assert {("yolo_segment", "GROUP_DROPPED"), ("voc", "GROUP_DROPPED")} <= losses(tmp_path)
    assert ("coco", "GROUP_DROPPED") not in losses(tmp_path)


# What a file is


def test_a_copy_has_the_suffix_that_its_header_shows(tmp_path):
    names = ["frame_0001", "4", "IMG-3.jfif", "frame.0002"]
    images = [(annotated(box("b", "car", 1, 1, 9, 9), size=(80, 60)), encoded((80, 60)), name) for name in names]
    exported(tmp_path, *images, formats=["yolo", {"webdataset": {}}])
    assert sorted(file.name for file in (tmp_path / "images/train").iterdir()) == [
        "4.jpg", "IMG-3.jpg", "frame.0002.jpg", "frame_0001.jpg",
    ]  # fmt: skip
    assert len(rows_of(tmp_path)) == 4
    records = (tmp_path / "metadata/records.csv").read_text()
    assert all(f"{stem}.jpg" in records for stem in ("frame_0001", "4", "IMG-3", "frame.0002"))


def test_a_format_that_ends_with_no_image_says_so(tmp_path):
    document = annotated(box("b", "car", 1, 1, 9, 9), size=(80, 60))
    exported(tmp_path, (document, encoded((80, 60), "GIF"), "a.gif"), formats=["yolo"])
    warnings = json.loads((tmp_path / "metadata/export_summary.json").read_text())["warnings"]
    assert any(warning.startswith("yolo: not one of 1 images could be used") for warning in warnings)


def test_a_size_beside_the_url_is_a_size(tmp_path):
    document = annotated(box("b", "car", 1, 1, 9, 9))
    size = {"width": 80, "height": 60}
    exported(tmp_path, (document, b"no header", "a.jpg"), more=size, save_original_file=False)
    assert [(image["width"], image["height"]) for image in coco(tmp_path)["images"]] == [(80, 60)]


def test_the_depth_of_voc_is_that_of_the_image(tmp_path):
    document = annotated(box("b", "car", 1, 1, 9, 9), size=(80, 60))
    exported(tmp_path, (document, encoded((80, 60), mode="L"), "a.jpg"), (document, encoded((80, 60)), "b.jpg"))
    found = {file.stem: file.read_text() for file in (tmp_path / "VOCdevkit/VOC2012/Annotations").iterdir()}
    assert "<depth>1</depth>" in found["a"]
    assert "<depth>3</depth>" in found["b"]


# Words that mean the same


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev"])
def test_a_split_for_validating_is_known_by_any_of_its_names(tmp_path, name):
    listed = tmp_path / "splits.csv"
    listed.write_text(f"record_id,split\n1,train\n2,{name}\n")
    document = annotated(box("b", "car", 1, 1, 9, 9), size=(80, 60))
    images = [(document, encoded((80, 60)), f"{number}.jpg") for number in (1, 2)]
    out = tmp_path / "out"
    exported(
        out, *images, formats=[{"yolo": {"ndjson": True}}, "voc", "imagefolder"],
        split={"by": "file", "file": str(listed)},
    )  # fmt: skip
    assert yaml.safe_load((out / "data.yaml").read_text())["val"] == f"images/{name}"
    assert (out / "VOCdevkit/VOC2012/ImageSets/Main/val.txt").read_text() == "2\n"
    card = yaml.safe_load((out / "images/README.md").read_text().split("---")[1])
    assert card["configs"][0]["data_files"] == [
        {"split": "train", "path": "train/**"}, {"split": "validation", "path": f"{name}/**"},
    ]  # fmt: skip
    lines = [json.loads(line) for line in (out / "dataset.ndjson").read_text().splitlines()[1:]]
    assert {line["file"]: line["split"] for line in lines} == {"1.jpg": "train", "2.jpg": "val"}


# Failed, skipped, corrected


@pytest.mark.parametrize("policy", ["drop_image", "keep"])
def test_an_image_that_lost_an_annotation_to_a_failure_is_no_negative(tmp_path, policy):
    broken = annotated(("x", "bounding_box", "car", {"coordinate": {"x": "far", "y": 1, "width": 2, "height": 3}}),
                       size=(80, 60))  # fmt: skip
    sound = annotated(box("b", "car", 1, 1, 9, 9), size=(80, 60))
    exported(
        tmp_path, (broken, encoded((80, 60)), "broken.jpg"), (sound, encoded((80, 60)), "sound.jpg"),
        max_failures=1, on_failed_annotation=policy,
    )  # fmt: skip
    kept = ["broken", "sound"] if policy == "keep" else ["sound"]
    assert [image["file_name"] for image in coco(tmp_path)["images"]] == [f"{stem}.jpg" for stem in kept]
    assert sorted(file.stem for file in (tmp_path / "labels/train").iterdir()) == kept
    assert sorted(file.stem for file in (tmp_path / "images/train").iterdir() if file.suffix == ".jpg") == kept
    assert (("coco", "ANNOTATION_FAILED") in losses(tmp_path)) is (policy == "drop_image")
    with (tmp_path / "annotations.csv").open(encoding="utf-8", newline="") as lines:
        assert len({row["record_id"] for row in csv.DictReader(lines)}) == 2


def test_corrections_are_counted_and_exported(tmp_path):
    document = annotated(box("b", "car\tbus", 20, 1, -9, 9), size=(80, 60))
    exported(tmp_path, (document, encoded((80, 60)), "a.jpg"), classes={"rename": {"car\tbus": "van"}})
    (written,) = coco(tmp_path)["annotations"]
    assert written["bbox"] == [11.0, 1.0, 9.0, 9.0]
    assert [category["name"] for category in coco(tmp_path)["categories"]] == ["van"]
    summary = json.loads((tmp_path / "metadata/export_summary.json").read_text())
    assert summary["annotations"]["lossy"] == {"BOX_TURNED_ROUND": 1, "CLASS_NAME_TIDIED": 1}
    assert summary["failed_records"] == 0
