"""YOLO, task detect, ``boxes_from``: the boxes around shapes that are none."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporting import command, environment, export, summary, write_config
from exporting import settings as settings_of
from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import ConfigError
from pipeline.formats import Kind, load_format
from pipeline.formats.testing import catalog_of, find_losses, samples
from pipeline.formats.testing.annotations import PERSON
from pipeline.formats.testing.shapes import mask, point, polygon, rectangles
from pipeline.formats.yolo.format import Yolo
from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.model.ledger import Ledger
from pipeline.records import Annotation, Polyline
from tests.formats.yolo.cases import YoloCases, rows_and_losses

EVERYTHING = ("polygon", "mask", "keypoints")
ENCLOSED = "SHAPE_ENCLOSED"


class TestYoloBoxesFrom(YoloCases):
    format = Yolo(boxes_from=("polygon", "mask"))

    def test_the_classes_of_outlines_are_among_the_names(self):
        names = yaml.safe_load(self.tree()["data.yaml"])["names"].values()
        assert "road" in names
        assert "nose" not in names

    def test_what_is_declared_is_what_happens(self):
        support, found = self.format.support(), {}
        for _, losses in find_losses(self.format, self.samples(), self.catalog()):
            for loss in losses:
                found.setdefault(loss.annotation_id, []).append((loss.outcome, loss.reason))
        stands_for = {
            Kind.POLYGON: "p1", Kind.POLYGON_OVER_EDGE: "cut-polygon", Kind.POLYGON_OUTSIDE: "outside-polygon",
            Kind.FLAT_POLYGON: "flat-polygon", Kind.MASK: "plain", Kind.MASK_WITH_HOLE: "holed",
            Kind.MASK_IN_PARTS: "parted", Kind.POLYLINE: "l1", Kind.SKELETON_POINT: "whole-1",
        }  # fmt: skip
        for kind, identity in stands_for.items():
            assert found[identity][0] == (support[kind].outcome, support[kind].reason), kind


class TestYoloBoxesFromKeypoints(YoloCases):
    format = Yolo(folder="enclosed", boxes_from=EVERYTHING)

    def annotations_in(self, sample, rows):
        """A group of keypoints has one row: of 5 (whole), 2 (part) and 2 points (arrow), and of 1 (g1)."""
        return len(rows) + (4 + 1 + 1 if sample.stem == "people" else 0)

    def test_what_is_declared_is_what_happens(self):
        support = self.format.support()
        assert support[Kind.SKELETON_POINT].reason == ENCLOSED
        (people,) = (sample for sample in self.samples() if sample.stem == "people")
        ((_, losses),) = find_losses(self.format, [people], self.catalog())
        found = {(loss.annotation_id, loss.outcome, str(loss.reason)) for loss in losses}
        assert {(f"whole-{number}", "lossy", ENCLOSED) for number in range(1, 6)} <= found
        assert ("alone", "skipped", support[Kind.UNGROUPED_POINT].reason) in found
        assert ("unknown-1", "skipped", support[Kind.UNKNOWN_POINT].reason) in found
        # The group that has a box has a row already.
        assert {("boxed-1", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")} <= found


def enclosed(*annotations, boxes_from=EVERYTHING, catalog=None, width=60, height=40, **options):
    """Rows in pixels, ``(class, x, y, width, height)``, and losses."""
    labels = {annotation.label: 1 for annotation in annotations}
    catalog = catalog or build_catalog(ShardSummary(1, len(annotations), labels, {"train": 1}), name="x", **options)
    rows, losses = rows_and_losses(
        *annotations, catalog=catalog, options={"boxes_from": boxes_from}, width=width, height=height
    )
    return [
        (row[0], *(round(value, 3) for value in (
            (row[1] - row[3] / 2) * width, (row[2] - row[4] / 2) * height, row[3] * width, row[4] * height,
        ))) for row in rows
    ], losses  # fmt: skip


def test_the_box_around_a_polygon_and_around_a_mask():
    outline = polygon("p", "car", 12, 8, 48, 8, 30, 32)
    pixels = Annotation("m", "segmentation", "car", mask(rectangles((12, 8, 24, 16, 1), (36, 24, 48, 32, 1))))
    rows, losses = enclosed(outline, pixels)
    assert rows == [(0, 12.0, 8.0, 36.0, 24.0)] * 2
    assert losses == [("p", "lossy", ENCLOSED), ("m", "lossy", ENCLOSED)]


def test_the_box_is_around_the_part_inside_the_image():
    rows, losses = enclosed(polygon("p", "car", 48, 8, 72, 8, 72, 32))
    assert rows == [(0, 48.0, 8.0, 12.0, 12.0)]
    assert losses == [("p", "lossy", ENCLOSED), ("p", "lossy", "CLIPPED_TO_IMAGE")]


def test_what_has_no_box_has_no_row():
    away, flat = polygon("away", "car", 70, 8, 80, 8, 80, 20), polygon("flat", "car", 1, 1, 2, 2, 3, 3)
    endless = polygon("endless", "car", 1, 1, math.inf, 2, 3, 3)
    line = Annotation("line", "polyline", "car", Polyline((1.0, 1.0, 30.0, 30.0)))
    rows, losses = enclosed(away, flat, endless, line)
    assert rows == []
    assert losses == [
        ("away", "skipped", "OUTSIDE_IMAGE"),
        ("flat", "skipped", "INVALID_POLYGON"),
        ("endless", "skipped", "INVALID_POLYGON"),
        ("line", "skipped", "UNSUPPORTED_ANNOTATION_TYPE"),
    ]


@pytest.mark.parametrize(
    ("masks", "reason"), [("exclude", "SEGMENTATION_EXCLUDED"), ("semantic", "SEMANTIC_SEGMENTATION_UNSUPPORTED")]
)
def test_a_mask_that_is_no_object_has_no_box(masks, reason):
    pixels = Annotation("m", "segmentation", "car", mask(rectangles((12, 8, 24, 16, 1))))
    assert enclosed(pixels, masks=masks) == ([], [("m", "skipped", reason)])


def test_only_what_is_named_is_enclosed():
    outline = polygon("p", "car", 12, 8, 48, 8, 30, 32)
    assert enclosed(outline, boxes_from=["mask"])[1] == [("p", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")]


def test_an_object_of_keypoints_has_the_class_of_its_group_and_one_row():
    first = Annotation("a", "keypoint", "nose", point("", "", 12, 8).shape, {}, "g", "dog")
    second = Annotation("b", "keypoint", "left_eye", point("", "", 24, 16).shape, {"colour": "red"}, "g", "dog")
    parts = {"dog": {"nose": 1, "left_eye": 1}}
    summary = ShardSummary(1, 2, {"nose": 1, "left_eye": 1}, {"train": 1}, parts=parts,
                           shapes={"point": {"nose": 1, "left_eye": 1}})  # fmt: skip
    catalog = build_catalog(summary, name="x", skeletons=(PERSON,))
    rows, losses = enclosed(first, second, catalog=catalog)
    assert rows == [(0, 12.0, 8.0, 12.0, 8.0)]
    assert catalog.classes_in("yolo/detect", {"box", "keypoints"}).names == ("dog",)
    assert losses == [
        ("a", "lossy", ENCLOSED), ("b", "lossy", ENCLOSED), ("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED"),
    ]  # fmt: skip


pictures = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@settings(deadline=None)
@given(pictures)
def test_the_box_around_any_mask_is_that_of_its_pixels(picture):
    height, width = picture.shape
    rows, losses = enclosed(Annotation("m", "segmentation", "car", mask(picture)), width=width, height=height)
    down, across = np.nonzero(picture)
    if not len(across):
        assert (rows, losses) == ([], [("m", "skipped", "INVALID_MASK_ENCODING")])
        return
    expected = (across.min(), down.min(), np.ptp(across) + 1, np.ptp(down) + 1)
    assert rows == [(0, *(pytest.approx(value, abs=2e-5 * 12) for value in expected))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes_from": ["cuboid"]}, "boxes_from: must be a list of polygon, mask, keypoints, not"),
        ({"boxes_from": "polygon"}, "boxes_from: must be a list of polygon, mask, keypoints, not 'polygon'"),
        ({"boxes_from": ["polygon"], "task": "segment"}, "boxes_from: needs task: detect"),
    ],
)
def test_an_option_that_is_wrong_or_does_nothing_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        load_format("yolo", options)


def warnings_about(path, name):
    return [text for text in summary(path)["warnings"] if text.startswith(f"{name}: ") and "background" in text]


def test_objects_that_the_labels_do_not_hold_are_told_with_the_option_that_holds_them(tidy, tmp_path):
    export(tidy, tmp_path / "boxes", formats=["yolo", {"yolo": {"task": "segment"}}, "coco"])
    (told,) = warnings_about(tmp_path / "boxes", "yolo")
    books = summary(tmp_path / "boxes")["formats"]["yolo"]
    losses = books["losses"]
    for tool, shape in (("polygon", "polygon"), ("segmentation", "mask")):
        assert books["unheld"][shape] == losses[tool]["UNSUPPORTED_ANNOTATION_TYPE"] > 0
        assert f"{shape} {books['unheld'][shape]:,}" in told
    assert f"{books['unheld_images']:,} of {books['samples']['written']:,} images show objects" in told
    assert 0 < books["unheld_images"] <= books["samples"]["written"]
    assert told.endswith("; boxes_from: [polygon, mask, keypoints] writes the boxes around them")
    (told,) = warnings_about(tmp_path / "boxes", "yolo_segment")
    assert told.endswith("; boxes: rectangle writes boxes as outlines")
    assert not warnings_about(tmp_path / "boxes", "coco")

    chosen = {"boxes_from": ["polygon", "mask", "keypoints"]}
    export(tidy, tmp_path / "all", formats=[{"yolo": chosen}])
    assert not warnings_about(tmp_path / "all", "yolo")
    assert summary(tmp_path / "all")["formats"]["yolo"]["annotations"]["lossy"][ENCLOSED] > 0


def test_the_warning_is_on_the_screen_of_plan_and_of_run(tidy, tmp_path):
    config = write_config(tmp_path, settings_of(tidy, tmp_path / "out", formats=["yolo"]))
    for name in ("plan", "run"):
        finished = command(name, config, env=environment(tidy))
        assert finished.returncode == 0, finished.stderr
        said = " ".join((finished.stdout + finished.stderr).split())
        assert "a model learns them as background; boxes_from: [polygon, mask, keypoints]" in said, said


def test_a_group_that_has_a_box_is_no_object_that_is_missing():
    numbered = samples()
    (people,) = (sample for sample in numbered if sample.stem == "people")
    writer = ShardWriter(None, [Yolo()], catalog_of(numbered), Ledger())
    writer.add(people, None)
    # whole, part, arrow, twice, unknown and unseen are groups without a box; boxed has one.
    assert writer.ledger.formats["yolo"].unheld == {"keypoints": 6}
    assert writer.ledger.formats["yolo"].unheld_images == 1
