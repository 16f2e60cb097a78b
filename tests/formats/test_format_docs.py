"""The pages in docs/formats match the formats: their options, their trees and their examples."""

import ast
import dataclasses
import importlib.util
import io
import os
import re
from pathlib import PurePosixPath

import pytest
from PIL import Image

from pipeline.formats import FORMATS, Entry, load_format
from pipeline.formats.testing import catalog_of, join_samples, samples
from tests.formats.test_support import variants
from tests.formats.write_docs import PAGE, ROOT, with_tables

PAGES = ROOT / "docs" / "formats"
# Not worth starting in a test of the documentation.
SLOW_LIBRARIES = {"ray"}
# What the pages advise for readers that need it.
OPTIONS = {"voc": {"images": "transcode"}}
# What the run writes and every page shows.
NOT_OURS = re.compile(r"(images|files)/<split>/.*")


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def tree_of(text):
    """The paths in the first block of a page, with their placeholders."""
    (block,) = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:1]
    return [line.split()[0] for line in block.splitlines() if line.strip()]


def pattern_of(path):
    return re.sub(r"<[a-z_]+>", "[^/]+", re.escape(path).replace(r"\<", "<").replace(r"\>", ">"))


def examples_of(text):
    """The Python blocks of a page, up to the first that needs a library which is not here."""
    blocks = []
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        libraries = {
            (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        if libraries & SLOW_LIBRARIES or not all(map(importlib.util.find_spec, libraries)):
            break
        blocks.append(code)
    return blocks


def test_every_format_has_a_page_and_every_page_a_format():
    assert {path.stem for path in PAGES.glob("*.md")} == set(FORMATS)


def test_the_tables_of_losses_are_those_the_formats_declare():
    text = PAGE.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python -m tests.formats.write_docs"


@pytest.mark.parametrize("name", FORMATS)
def test_every_option_is_in_the_page(name):
    text = page(name)
    for option in dataclasses.fields(load_format(name)):
        assert f"| `{option.name}` |" in text, f"{name}: {option.name}"


@pytest.mark.parametrize("name", FORMATS)
def test_no_option_is_in_the_page_that_is_none(name):
    documented = re.findall(r"^\| option \|.*\n\|[-| ]+\n((?:\|.*\n)*)", page(name), re.MULTILINE)
    known = {option.name for option in dataclasses.fields(load_format(name))}
    assert set(re.findall(r"^\| `([^`]+)` \|", "".join(documented), re.MULTILINE)) == known


def paths_of(name):
    """All paths that a format writes, with any options."""
    for options in variants(name):
        for masks in ("instance", "semantic"):
            yield from join_samples(load_format(name, options), samples(), catalog_of(samples(), masks=masks))


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_a_format_writes_is_in_its_tree(name):
    patterns = [pattern_of(path) for path in tree_of(page(name))]
    for path in set(paths_of(name)):
        assert any(re.fullmatch(pattern, path) for pattern in patterns), path


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_in_the_tree_is_written(name):
    written = set(paths_of(name))
    for path in tree_of(page(name)):
        if not NOT_OURS.fullmatch(path):
            assert any(re.fullmatch(pattern_of(path), other) for other in written), path


def write_export(name, folder):
    """An export of the sample set with pictures for originals."""
    format_, catalog = load_format(name, OPTIONS.get(name)), catalog_of(samples())
    tree = join_samples(format_, samples(), catalog)
    for sample in samples():
        if sample.sample.has_image:
            picture = Image.new("RGB", (sample.sample.width, sample.sample.height))
            copies = [entry for entry in format_.render(sample, catalog) if isinstance(entry, Entry) and entry.original]
            for path in (sample.original_path, *(entry.path for entry in copies if not entry.section)):
                tree[path] = encoded(picture, PurePosixPath(path).suffix)
    for path, data in tree.items():
        os.makedirs(folder / os.path.dirname(path), exist_ok=True)
        (folder / path).write_bytes(data)


def encoded(picture, suffix):
    file = io.BytesIO()
    picture.save(file, format="PNG" if suffix == ".png" else "JPEG")
    return file.getvalue()


# pycocotools 2.0.11 decodes through an old form of numpy's array protocol.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "name", [name for name in FORMATS if (PAGES / f"{name}.md").exists() and examples_of(page(name))]
)
def test_the_examples_run(name, tmp_path, monkeypatch):
    write_export(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in examples_of(page(name)):
        exec(code, names)
    check = CHECKS.get(name)
    if check:
        check(names)


def check_coco(names):
    assert names["evaluation"].stats[0] == pytest.approx(1.0)
    assert len(names["dataset"].anns) > 20
    assert names["path"] == "images/train/masks.png"
    assert names["mask"].any()


def check_synapse_json(names):
    assert names["record"]["id"] == 7
    assert len(names["record"]["data"]["annotations"]) == 1


CHECKS = {"coco": check_coco, "synapse_json": check_synapse_json}
