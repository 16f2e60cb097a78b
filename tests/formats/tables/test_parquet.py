import io
import itertools
import random
import re

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from pipeline.errors import ConfigError
from pipeline.formats import load_format
from pipeline.formats.parquet_files import RowGroupLimits
from pipeline.formats.tables.arrow import to_parquet
from pipeline.formats.tables.parquet import OTHER, Parquet
from pipeline.formats.testing import FormatCases, catalog_of, empty_catalog, find_losses, join_samples
from pipeline.records import Annotation, Box
from tests.formats.row_checks import (
    ANNOTATIONS,
    check_against_source,
    check_row,
    sample_with,
    snippet,
    write_tree,
)
from tests.formats.tables.grammar import COLUMNS, check_rows, per_image, with_json
from tests.formats.write_golden import golden

# pycocotools and NumPy 2; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PATH = re.compile(r"parquet/split=([a-z0-9_-]+)/part-\d{5}\.parquet")
TRAIN = "parquet/split=train/part-00000.parquet"


def table(data):
    return pq.ParquetFile(io.BytesIO(data)).read()


def rows(tree):
    """The rows of all files, with their split, in the order of the annotations."""
    found = []
    for path, data in tree.items():
        match = PATH.fullmatch(path)
        assert match or path == OTHER, path
        split = {"split": match[1]} if match else {}
        found += [with_json({name: (row | split)[name] for name in COLUMNS}) for row in table(data).to_pylist()]
    return sorted(found, key=lambda row: (row["image_id"], row["annotation_id"] or 0))


class TestParquet(FormatCases):
    format = Parquet()

    def check(self, tree):
        check_rows(rows(tree))
        schemas = [table(data).schema for path, data in tree.items() if path != OTHER]
        assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)

    def written_annotations(self, tree):
        return per_image(rows(tree))

    def test_writes_the_golden_files(self):
        # Not the very bytes: the version of pyarrow is in them.
        tree, wanted = self.tree(), golden("parquet")
        assert list(tree) == sorted(wanted)
        for path, data in tree.items():
            assert table(data).equals(table(wanted[path]), check_metadata=True), path

    def test_every_annotation_has_its_row(self):
        check_against_source(rows(self.tree()), self.samples())

    def test_images_are_in_their_split_and_everything_else_is_in_one_file(self):
        tree = self.tree()
        usable = {sample.image_id for sample in self.samples() if sample.sample.has_image}
        other = {row["image_id"]: row["split"] for row in table(tree.pop(OTHER)).to_pylist()}
        assert other == {sample.image_id: sample.split for sample in self.samples() if sample.image_id not in usable}
        assert {row["image_id"]: row["split"] for row in rows(tree)} == {
            sample.image_id: sample.split for sample in self.samples() if sample.image_id in usable
        }

    def test_types_are_those_of_the_values(self):
        schema = table(self.tree()[TRAIN]).schema
        assert schema.field("record_id").type == schema.field("annotation_id").type == pa.int64()
        assert schema.field("x").type == pa.float64()
        assert schema.field("points").type == pa.list_(pa.field("element", pa.float64()))
        assert schema.field("class").type == pa.dictionary(pa.int32(), pa.string())
        assert "split" not in schema.names

    def test_codes_of_classes_are_class_indices_in_every_file(self):
        for path, data in self.tree().items():
            classes = table(data)["class"].combine_chunks()
            chunk = classes.chunk(0) if isinstance(classes, pa.ChunkedArray) else classes
            assert chunk.dictionary.to_pylist() == list(self.catalog().classes), path
            assert chunk.indices.to_pylist() == table(data)["class_index"].to_pylist(), path

    def test_an_empty_file_has_the_schema_of_a_full_one(self):
        empty = join_samples(self.format, [], catalog_of([]))
        full = self.tree()
        assert set(empty) == {TRAIN, OTHER}
        for path, data in empty.items():
            assert table(data).num_rows == 0
            assert table(data).schema == table(full[path]).schema

    def test_without_classes_it_is_loadable(self):
        assert table(join_samples(self.format, [], empty_catalog())[TRAIN]).num_rows == 0

    def test_a_split_of_which_no_image_is_usable_is_in_the_other_file(self):
        video = [sample for sample in self.samples() if sample.stem == "clip"]
        tree = join_samples(self.format, video, catalog_of(video))
        assert table(tree[OTHER])["split"].to_pylist() == ["val"]
        assert table(tree[TRAIN]).num_rows == 0

    def test_an_image_whose_copy_failed_is_in_the_other_file(self):
        first, *rest = self.samples()
        failed = msgspec.structs.replace(first, original=None, sample=msgspec.structs.replace(first.sample, file=None))
        tree = join_samples(self.format, [failed, *rest], self.catalog())
        assert first.image_id in table(tree[OTHER])["image_id"].to_pylist()

    def test_only_dropped_classes_are_lost(self):
        found = [
            loss for _, of_sample in find_losses(self.format, self.samples(), self.catalog()) for loss in of_sample
        ]
        assert {(loss.annotation_id, loss.reason) for loss in found} == {(i, "CLASS_DROPPED") for i in ("d1", "d2")}

    def test_the_loading_example_runs(self, tmp_path, monkeypatch):
        write_tree(self.tree(), tmp_path)
        monkeypatch.chdir(tmp_path)
        names = {}
        exec(snippet("parquet.md", "pyarrow.dataset"), names)
        assert names["boxes"].num_rows == 14
        assert set(names["boxes"]["split"].to_pylist()) == {"train"}
        assert names["bitmap"].shape == (40, 60)
        assert names["bitmap"].all()


class TestSmallFiles(FormatCases):
    """Three images in a file, no rows for images without annotations."""

    format = Parquet(images_per_file=3, empty_images=False)

    def check(self, tree):
        check_rows(rows(tree))

    def test_files_hold_so_many_images_of_their_split(self):
        usable = [sample for sample in self.samples() if sample.sample.has_image]
        expected = {}
        for sample in usable:
            if [item for item in sample.sample.annotations if item.label != "ignore me"]:
                path = f"parquet/split={sample.split}/part-{sample.position // 3:05d}.parquet"
                expected.setdefault(path, set()).add(sample.image_id)
        tree = self.tree()
        del tree[OTHER]
        assert {path: set(table(data)["image_id"].to_pylist()) for path, data in tree.items()} == expected
        assert len([path for path in tree if "split=train" in path]) == 3


@settings(deadline=None)
@given(ANNOTATIONS)
def test_any_annotation_comes_back_as_it_was(annotations):
    sample, catalog = sample_with(*annotations)
    found = rows(join_samples(Parquet(), [sample], catalog))
    check_rows(found)
    if not annotations:
        assert [row["annotation_id"] for row in found] == [None]
    for number, annotation in enumerate(annotations, start=sample.annotation_id):
        check_row(found[number - sample.annotation_id], sample, annotation, number)


def lines(images):
    """The joined lines of so many images with three boxes each, and the number of rows."""
    random_ = random.Random(4711)
    sample, catalog = sample_with(
        *(Annotation(str(i), "bounding_box", "car", Box(random_.random(), 2.0, 3.0, 4.0)) for i in range(3))
    )
    (manifest, _) = Parquet().manifests(catalog)
    yield manifest.sections[0].open
    for number in range(images):
        (entry,) = Parquet().render(msgspec.structs.replace(sample, image_id=number + 1), catalog)
        yield entry.data


def test_row_groups_end_at_the_same_rows_however_the_lines_are_cut():
    limits = RowGroupLimits(batch_bytes=2000, group_bytes=10_000)
    joined = b"".join(lines(200))
    whole = b"".join(to_parquet([joined], limits))
    groups = pq.ParquetFile(io.BytesIO(whole)).metadata
    assert groups.num_rows == 600
    assert groups.num_row_groups > 5
    for step in (1, 7, 1999, 100_000):
        assert b"".join(to_parquet((joined[i : i + step] for i in range(0, len(joined), step)), limits)) == whole


def test_row_groups_have_a_bounded_number_of_rows():
    limits = RowGroupLimits(batch_bytes=1, rows=30)
    whole = pq.ParquetFile(io.BytesIO(b"".join(to_parquet(lines(100), limits)))).metadata
    assert [whole.row_group(i).num_rows for i in range(whole.num_row_groups)] == [30] * 10


def test_what_is_held_does_not_grow_with_the_file():
    limits = RowGroupLimits(batch_bytes=10_000, group_bytes=100_000)
    read = taken = 0

    def counted():
        nonlocal read
        for line in lines(3000):
            read += len(line)
            yield line

    behind = 0
    for piece in itertools.islice(to_parquet(counted(), limits), 5):
        taken += len(piece)
        behind = max(behind, read)
        assert taken
    assert behind < 6 * 100_000 + 20_000, "five row groups were given out before much more was read"


@pytest.mark.parametrize("number", [0, -1, 1.5, "1000", True])
def test_a_wrong_number_of_images_is_refused(number):
    with pytest.raises(ConfigError, match="whole number from 1"):
        load_format("parquet", {"images_per_file": number})
