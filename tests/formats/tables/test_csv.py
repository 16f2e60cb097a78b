import codecs
import csv
import io

import msgspec
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings

from pipeline.errors import ConfigError
from pipeline.formats import Entry, Loss, load_format
from pipeline.formats.tables.csv import Csv
from pipeline.formats.testing import FormatCases, catalog_of, find_losses, join_samples, samples
from pipeline.records import Annotation, Box
from tests.formats.row_checks import (
    ANNOTATIONS,
    bad_masks,
    check_against_source,
    check_row,
    sample_with,
    snippet,
    write_tree,
)
from tests.formats.tables.grammar import check_rows, per_image, read_csv
from tests.formats.write_golden import golden

# pycocotools and NumPy 2; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def rows_of(*annotations, **changes):
    sample, catalog = sample_with(*annotations, **changes)
    return read_csv(join_samples(Csv(), [sample], catalog)["annotations.csv"])


class TestCsv(FormatCases):
    format = Csv()

    def check(self, tree):
        super().check(tree)
        check_rows(read_csv(tree["annotations.csv"]))

    def written_annotations(self, tree):
        return per_image(read_csv(tree["annotations.csv"]))

    def rows(self):
        return read_csv(self.tree()["annotations.csv"])

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("csv")

    def test_every_annotation_has_its_row(self):
        check_against_source(self.rows(), self.samples())

    def test_every_sample_has_a_row_also_one_without_annotations_or_image(self):
        assert {row["image_id"] for row in self.rows()} == {sample.image_id for sample in self.samples()}
        empty = {row["file_name"] for row in self.rows() if row["annotation_id"] is None}
        assert "images/train/empty.png" in empty

    def test_only_dropped_classes_are_lost(self):
        found = {
            (loss.annotation_id, loss.outcome, loss.reason)
            for _, of_sample in find_losses(self.format, self.samples(), self.catalog())
            for loss in of_sample
        }
        assert found == {("d1", "skipped", "CLASS_DROPPED"), ("d2", "skipped", "CLASS_DROPPED")}

    def test_the_classes_are_the_catalogs(self):
        classes = self.catalog().classes
        found = {(row["class_index"], row["class"]) for row in self.rows()} - {(None, None)}
        assert found <= set(enumerate(classes))
        assert (0, "car") in found

    def test_rows_are_in_the_order_of_the_records(self):
        numbers = [row["annotation_id"] for row in self.rows() if row["annotation_id"] is not None]
        assert numbers == sorted(numbers)

    def test_the_file_name_leads_to_the_copy(self):
        names = {row["image_id"]: row["file_name"] for row in self.rows()}
        assert names[1] == "images/train/street.jpg"
        assert names[4] == "files/val/clip.mp4"
        assert names[3] is None

    def test_another_reader_reads_the_same(self):
        table = pyarrow.csv.read_csv(
            io.BytesIO(self.tree()["annotations.csv"]),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                null_values=[""], strings_can_be_null=True, column_types={"class": pa.string()}
            ),
        )
        for name in ("annotation_id", "source_id", "class", "x", "rotation"):
            assert table[name].to_pylist() == [row[name] for row in self.rows()], name

    def test_the_loading_example_runs(self, tmp_path, monkeypatch):
        write_tree(self.tree(), tmp_path)
        monkeypatch.chdir(tmp_path)
        names = {}
        exec(snippet("csv.md", "import csv"), names)
        assert names["boxes"]["images/train/street.jpg"] == [
            ("car", 21.5, 24.2, 22.5, 18.9),
            ("bus", 60.123456789, 5.0, 30.0, 10.5),
        ]


class TestCsvWithoutEmptyImages(FormatCases):
    format = Csv(empty_images=False)

    def test_images_without_annotations_have_no_row(self):
        rows = read_csv(self.tree()["annotations.csv"])
        assert rows
        assert None not in {row["annotation_id"] for row in rows}


class TestCsvWithByteOrderMark(FormatCases):
    format = Csv(bom=True)

    def test_it_is_the_same_file_behind_the_mark(self):
        marked, plain = self.tree()["annotations.csv"], golden("csv")["annotations.csv"]
        assert marked == codecs.BOM_UTF8 + plain
        assert pa.csv.read_csv(io.BytesIO(marked)).column_names[0] == "record_id"


def test_an_image_of_which_everything_is_dropped_is_an_image_without_annotations():
    dropped = [item for item in samples() if item.stem == "dropped.v2"]
    source = msgspec.structs.replace(dropped[0].sample, annotations=dropped[0].sample.annotations[:2])
    sample = msgspec.structs.replace(dropped[0], sample=source)
    results = list(Csv().render(sample, catalog_of([sample])))
    assert [result.reason for result in results if isinstance(result, Loss)] == ["CLASS_DROPPED"] * 2
    assert len([result for result in results if isinstance(result, Entry)]) == 1
    assert not [
        item for item in Csv(empty_images=False).render(sample, catalog_of([sample])) if isinstance(item, Entry)
    ]


def test_without_copies_the_name_is_bare():
    sample, catalog = sample_with()
    (row,) = read_csv(join_samples(Csv(), [msgspec.structs.replace(sample, original=None)], catalog)["annotations.csv"])
    assert row["file_name"] == "empty.png"


@pytest.mark.parametrize("case", ["larger than its image", "empty"])
def test_a_mask_that_cannot_be_drawn_is_skipped(case):
    sample, catalog = bad_masks()[case]
    assert [r for r in Csv().render(sample, catalog) if isinstance(r, Loss)] == [
        Loss("m", "skipped", "INVALID_MASK_ENCODING")
    ]


def test_a_mask_of_an_image_of_unknown_size_is_skipped():
    sample, catalog = bad_masks()["larger than its image"]
    unsized = msgspec.structs.replace(sample, sample=msgspec.structs.replace(sample.sample, width=None))
    found = [r for r in Csv().render(unsized, catalog) if isinstance(r, Loss)]
    assert found == [Loss("m", "skipped", "SOURCE_IMAGE_INVALID")]


@pytest.mark.parametrize(("masks", "lost"), [("instance", 0), ("semantic", 0), ("exclude", 6)])
def test_masks_are_excluded_only_when_asked_for(masks, lost):
    catalog = catalog_of(samples(), masks=masks)
    found = [loss for _, of_sample in find_losses(Csv(), samples(), catalog) for loss in of_sample]
    assert [loss.reason for loss in found].count("SEGMENTATION_EXCLUDED") == lost


def test_text_that_a_spreadsheet_would_run_is_neutralised_and_numbers_are_not():
    (row,) = rows_of(Annotation("=1+1", "bounding_box", "@SUM(1)", Box(-1.5, -2.0, 3.0, 4.0), {}, "-7"))
    assert (row["source_id"], row["class"], row["group"]) == ("'=1+1", "'@SUM(1)", "-7")
    assert (row["x"], row["y"]) == (-1.5, -2.0)


def test_a_line_break_inside_a_cell_ends_no_row():
    (row,) = rows_of(Annotation("a\rb\nc\r\nd", "bounding_box", "x", Box(1.0, 2.0, 3.0, 4.0)))
    assert row["source_id"] == "a\rb\nc\r\nd"


def plain(row):
    """The row before it was made harmless."""
    neutral = ("'=", "'+", "'-", "'@", "'\t", "'\r", "'\n", "'＝", "'＋", "'－", "'＠")
    return {
        name: value[1:] if isinstance(value, str) and value.startswith(neutral) else value
        for name, value in row.items()
    }


@settings(deadline=None)
@given(ANNOTATIONS)
def test_any_annotation_comes_back_as_it_was(annotations):
    sample, catalog = sample_with(*annotations)
    data = join_samples(Csv(), [sample], catalog)["annotations.csv"]
    rows = read_csv(data)
    check_rows(rows)
    kept = list(enumerate(annotations, start=sample.annotation_id))
    assert len(rows) == max(1, len(kept))
    for (number, annotation), row in zip(kept, rows, strict=False):
        check_row(plain(row), sample, annotation, number)
    assert [len(cells) for cells in csv.reader(io.StringIO(data.decode(), newline=""))] == [29] * (len(rows) + 1)


def test_a_wrong_option_is_refused():
    with pytest.raises(ConfigError, match="true or false"):
        load_format("csv", {"empty_images": "no"})
