"""The example in docs/own-format.md is complete, and passes the suite that every format passes."""

import re
import sys

import pytest

from pipeline.config.export import parse_config
from pipeline.formats import load_format
from pipeline.formats.testing import FormatCases, catalog_of, find_losses, join_samples, samples, strict_json
from tests.formats.write_docs import ROOT

DOC = (ROOT / "docs" / "own-format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def block(language, start):
    (found,) = [text for name, text in BLOCKS if name == language and text.startswith(start)]
    return found


@pytest.fixture(autouse=True)
def my_formats(request, tmp_path, monkeypatch):
    """The example as a module that can be imported, here and in other processes."""
    (tmp_path / "my_formats.py").write_text(block("python", "# my_formats.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_formats", raising=False)
    if request.cls is not None:
        monkeypatch.setattr(request.cls, "format", load_format("my_formats:BoxLines"), raising=False)


class TestOwnFormat(FormatCases):
    def written_annotations(self, tree):
        ids = {sample.original_path: sample.image_id for sample in self.samples()}
        lines = [strict_json(line) for data in tree.values() for line in data.splitlines()]
        return {ids[line["image"]]: len(line["boxes"]) for line in lines}

    def test_a_line_is_what_the_document_says(self):
        assert block("json", "{").encode() in self.tree()["boxes/train.jsonl"]

    def test_every_split_has_its_file(self):
        assert list(self.tree()) == ["boxes/test.jsonl", "boxes/train.jsonl", "boxes/val.jsonl"]

    def test_it_reports_what_it_cannot_hold(self):
        found = {
            loss.annotation_id: loss.reason
            for _, of in find_losses(self.format, samples(), self.catalog())
            for loss in of
        }
        assert found["p1"] == "UNSUPPORTED_ANNOTATION_TYPE"
        assert found["t1"] == "UNSUPPORTED_ANNOTATION_TYPE"
        assert found["d1"] == "CLASS_DROPPED"


def test_the_lines_of_configuration_load_it():
    lines = block("yaml", "formats:")
    settings = parse_config(f"name: x\ntarget: task\nfilter: {{project: 1}}\npath: out\n{lines}")
    loaded = [load_format(entry.name, entry.options) for entry in settings.formats]
    assert [format_.name for format_ in loaded] == ["coco", "box_lines"]


def test_the_option_is_an_option():
    tree = join_samples(load_format("my_formats:BoxLines", {"corners": True}), samples(), catalog_of(samples()))
    assert b'"box":[1.0,2.0,4.0,6.0]' in tree["boxes/train.jsonl"]


def test_the_test_in_the_document_is_a_test():
    names = {}
    exec(block("python", "# tests/formats/test_my_formats.py"), names)
    assert issubclass(names["TestBoxLines"], FormatCases)
    names["TestBoxLines"]().test_files_are_loadable()


def test_the_example_is_short():
    code = [line for line in block("python", "# my_formats.py").splitlines() if line.strip()]
    assert len(code) <= 35
