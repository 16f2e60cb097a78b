import json

import msgspec
import pytest
from hypothesis import given, settings

from pipeline.formats import Entry, Loss
from pipeline.formats.imagefolder import ImageFolder
from pipeline.formats.testing import FormatCases, catalog_of, find_losses, join_samples, samples
from pipeline.formats.testing.shapes import box, polygon
from pipeline.records import Annotation, Box, Mask, Polygon, Whole
from tests.formats.imagefolder.grammar import CARD, OBJECTS, check_imagefolder, read_metadata
from tests.formats.row_checks import ANNOTATIONS, bad_masks, sample_with
from tests.formats.write_golden import golden

# pycocotools and NumPy 2; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TRAIN = "images/train/metadata.parquet"


def tables(tree):
    """The tables of a tree, without its card."""
    return {path: data for path, data in tree.items() if path != CARD}


def row_of(*annotations, **changes):
    sample, catalog = sample_with(*annotations, **changes)
    tree = join_samples(ImageFolder(), [sample], catalog)
    (row,) = check_imagefolder(tree)
    found = [result for result in ImageFolder().render(sample, catalog) if isinstance(result, Loss)]
    return row, [(loss.annotation_id, loss.outcome, loss.reason) for loss in found]


class TestImageFolder(FormatCases):
    format = ImageFolder()

    def check(self, tree):
        check_imagefolder(tree)

    def written_annotations(self, tree):
        return {
            row["image_id"]: len(row["objects"]["id"]) + len(row["labels"])
            for row in check_imagefolder(tree)
            if row["objects"]["id"] or row["labels"]
        }

    def test_writes_the_golden_files(self):
        # Not the very bytes: the version of pyarrow is in them.
        tree, wanted = self.tree(), golden("imagefolder")
        assert list(tree) == sorted(wanted)
        for path, data in tree.items():
            same = data == wanted[path] if path == CARD else read_metadata(data) == read_metadata(wanted[path])
            assert same, path

    def test_every_usable_image_is_beside_its_row(self):
        usable = {sample.original_path for sample in self.samples() if sample.sample.has_image}
        found = {
            f"{path.rpartition('/')[0]}/{row['file_name']}"
            for path, data in tables(self.tree()).items()
            for row in read_metadata(data)[0]
        }
        assert found == usable

    def test_classes_have_their_names(self):
        for data in tables(self.tree()).values():
            assert read_metadata(data)[2] == list(self.catalog().classes)

    def test_a_split_without_objects_has_the_types_of_the_others(self):
        empty = [sample for sample in self.samples() if sample.stem == "empty"]
        catalog = self.catalog()
        schemas = [read_metadata(data)[1] for data in tables(join_samples(self.format, empty, catalog)).values()]
        assert [schema == read_metadata(self.tree()[TRAIN])[1] for schema in schemas] == [True] * 3

    def test_numbers_are_those_of_coco(self):
        rows = {row["image_id"]: row for row in check_imagefolder(self.tree())}
        assert rows[1]["objects"]["id"] == [1, 2, 3, 4]
        assert rows[1]["labels"] == [self.catalog().classes.index("sunny")]
        assert rows[1]["objects"]["bbox"][0] == [21.5, 24.2, 22.5, 18.9]

    def test_losses_are_these(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in find_losses(self.format, self.samples()[:9], self.catalog())
            for loss in of_sample
            if loss.annotation_id
        }
        assert found == {
            *((name, "skipped", "UNSUPPORTED_ANNOTATION_TYPE") for name in ("l1", "k1", "r1", "o1")),
            ("x1", "skipped", "SOURCE_IMAGE_INVALID"),
            ("v1", "skipped", "UNSUPPORTED_MEDIA"),
            *((name, "lossy", "ROTATION_ENCLOSED") for name in ("t1", "over-the-edge")),
            *((name, "lossy", "CLIPPED_TO_IMAGE") for name in ("over-the-edge", "cut", "larger", "cut-polygon")),
            *((name, "skipped", "OUTSIDE_IMAGE") for name in ("away", "outside", "touching", "outside-polygon")),
            ("flat-polygon", "skipped", "INVALID_POLYGON"),
            *((name, "skipped", "CLASS_DROPPED") for name in ("d1", "d2")),
        }

    def test_it_needs_the_images(self):
        assert self.format.needs_originals


def test_a_turned_box_is_a_polygon_in_its_box():
    row, found = row_of(box("t", "car", 20.0, 20.0, 20.0, 10.0, rotation=0.5, color="red"))
    assert found == [("t", "lossy", "ROTATION_ENCLOSED")]
    ((outline,),) = row["objects"]["segmentation"]
    assert len(outline) == 8
    assert row["objects"]["bbox"][0][0] == pytest.approx(min(outline[::2]))
    assert row["objects"]["area"] == [200.0]
    assert json.loads(row["objects"]["attributes"][0]) == {"color": "red"}


def test_a_polygon_over_the_edge_is_cut():
    row, found = row_of(polygon("p", "road", -10, 10, 20, 10, 20, 30))
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]
    assert row["objects"]["segmentation"] == [[[0.0, pytest.approx(50 / 3), 0.0, 10.0, 20.0, 10.0, 20.0, 30.0]]]
    assert row["objects"]["bbox"] == [[0.0, 10.0, 20.0, 20.0]]
    assert row["objects"]["area"] == [pytest.approx(300 - 10 * (20 / 3) / 2)]


def test_attributes_of_a_class_of_the_whole_image_are_lost_and_said_to_be():
    row, found = row_of(Annotation("w", "classification", "sunny", Whole(), {"sure": True}))
    assert row["labels"] == [0]
    assert found == [("w", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


@pytest.mark.parametrize("case", ["larger than its image", "empty"])
def test_a_mask_that_cannot_be_drawn_is_skipped(case):
    found = [result for result in ImageFolder().render(*bad_masks()[case]) if isinstance(result, Loss)]
    assert found == [Loss("m", "skipped", "INVALID_MASK_ENCODING")]


@pytest.mark.parametrize(
    ("masks", "reason"),
    [("exclude", "SEGMENTATION_EXCLUDED"), ("semantic", "SEMANTIC_SEGMENTATION_UNSUPPORTED")],
)
def test_masks_are_left_out_when_they_are_not_of_instances(masks, reason):
    catalog = catalog_of(samples(), masks=masks)
    found = [loss for _, of_sample in find_losses(ImageFolder(), samples(), catalog) for loss in of_sample]
    assert [loss.reason for loss in found].count(reason) == 6


def test_a_sample_without_an_image_is_left_out():
    video = samples()[3]
    found = list(ImageFolder().render(video, catalog_of([video])))
    assert not [result for result in found if isinstance(result, Entry)]
    assert {loss.reason for loss in found} == {"UNSUPPORTED_MEDIA"}


@settings(deadline=None)
@given(ANNOTATIONS)
def test_what_is_drawn_is_inside_and_everything_is_written_or_lost(annotations):
    identities = [f"{number} {item.id}" for number, item in enumerate(annotations)]
    named = [msgspec.structs.replace(a, id=identity) for a, identity in zip(annotations, identities, strict=True)]
    row, found = row_of(*named)
    skipped = {identity for identity, outcome, _ in found if outcome == "skipped"}
    assert len(row["objects"]["id"]) + len(row["labels"]) + len(skipped) == len(named)
    drawn = [item for item in named if isinstance(item.shape, Box | Polygon | Mask) and item.id not in skipped]
    assert [sorted(row["objects"])] == [sorted(OBJECTS)]
    assert [json.loads(text or "{}") for text in row["objects"]["attributes"]] == [item.attributes for item in drawn]
