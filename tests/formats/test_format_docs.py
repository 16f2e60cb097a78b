"""What docs/formats.md says is what the formats do."""

import dataclasses
import os
import re

import pytest

from pipeline.formats import FORMATS, load_format
from tests.formats.cases import ROOT, join, losses
from tests.formats.sample_set import catalog_of, samples

DOC = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)

# The row of the table that speaks of each annotation of the sample set.
ROWS = {
    "box": "b2",
    "turned box": "t1",
    "box partly outside the image": "cut",
    "box outside the image": "outside",
    "polygon": "p1",
    "polygon partly outside the image": "cut-polygon",
    "polygon outside the image": "outside-polygon",
    "polygon without an area": "flat-polygon",
    "mask": "m1",
    "polyline": "l1",
    "keypoint": "k1",
    "classification": "c1",
    "relation": "r1",
    "cuboid, text, time range, prompt": "o1",
    "attributes": "b1",
    "class in `classes.drop`": "d1",
}


def rows():
    table = DOC[DOC.index("| annotation |") :].split("\n\n")[0].splitlines()
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {line[0]: dict(zip((name.strip("`") for name in header[1:]), line[1:], strict=True)) for line in lines}


def test_the_table_has_a_column_for_each_format_and_a_row_for_each_kind_of_annotation():
    assert set(rows()) == set(ROWS)
    assert all(set(cells) == set(FORMATS) for cells in rows().values())


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_says_what_is_lost(name):
    found = {}
    for _, of_sample in losses(load_format(name), samples(), catalog_of(samples())):
        for loss in of_sample:
            found.setdefault(loss.annotation_id, set()).add((loss.outcome, str(loss.reason)))
    for row, annotation_id in ROWS.items():
        cell = rows()[row][name]
        said = set(re.findall(r"(skipped|lossy) `([A-Z_]+)`", cell))
        assert said == found.get(annotation_id, set()), row
        assert said or cell.startswith("kept"), row


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["coco", "synapse_json"])
def test_the_loading_example_runs(name, tmp_path, monkeypatch, capsys):
    for path, data in join(load_format(name), samples(), catalog_of(samples())).items():
        os.makedirs(tmp_path / os.path.dirname(path), exist_ok=True)
        (tmp_path / path).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    (code,) = [code for code in PYTHON if ("pycocotools" if name == "coco" else "json.loads") in code]
    names = {}
    exec(code, names)
    if name == "coco":
        assert names["path"] == "images/train/names.jpg"
        assert names["annotation"]["id"] == 43
    else:
        assert len(capsys.readouterr().out.splitlines()) == 13


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_a_format_writes_is_in_its_tree(name):
    section = DOC.split(f"| [`{name}`]")[1].splitlines()[0]
    patterns = [
        re.escape(pattern).replace("<split>", "[^/]+").replace("<stem>", "[^/]+")
        for pattern in re.findall(r"`([^`]+)`", section)
    ]
    for path in join(load_format(name), samples(), catalog_of(samples())):
        assert any(re.fullmatch(pattern, path) for pattern in patterns), path


def test_every_option_is_documented():
    for name in FORMATS:
        for option in dataclasses.fields(load_format(name)):
            assert f"| `{option.name}` |" in DOC, f"{name}: {option.name}"
