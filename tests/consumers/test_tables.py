"""CSV and Parquet, read by DuckDB, pyarrow, pandas, Polars and Hugging Face ``datasets``."""

import pytest


@pytest.fixture
def tables(ask):
    def seen(export):
        return ask("tables", export.path, export.path.parent / "cache")

    return seen


def test_all_programs_count_the_same(exported, tables):
    seen = tables(exported)
    for format_ in ("parquet", "csv"):
        counts = iter(seen[format_].values())
        first = next(counts)
        assert len(first) == 3
        assert all(others == first for others in counts)


def test_every_annotation_is_a_row(exported, tables):
    seen = tables(exported)
    for format_, elsewhere in (("parquet", seen["other"]), ("csv", 0)):
        annotations = sum(count for _, _, count, _ in seen[format_]["duckdb"])
        assert annotations + elsewhere == exported.summary["formats"][format_]["annotations"]["written"]
    images = {split: images for split, _, _, images in seen["parquet"]["duckdb"]}
    assert images == exported.splits()  # one whose original is missing is among the others, in parquet_other


def test_classes_are_the_dictionary_of_their_column(exported, tables):
    assert tables(exported)["classes"] == exported.classes


@pytest.mark.xdist_group("tidy")
def test_the_boxes_are_those_that_were_drawn(tidy_export, tables):
    drawn = tidy_export.boxes()
    for boxes in tables(tidy_export)["boxes"].values():
        found = {name: [] for name in drawn}
        for file_name, *box in boxes:
            found[file_name.rpartition("/")[2]].append(tuple(box))
        assert {name: sorted(boxes) for name, boxes in found.items()} == drawn
