"""The format in docs/own-format.md is complete: its code, its types, its test, and its package."""

import os
import re
import site
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.loading import parse_config
from pipeline.formats import load_format
from pipeline.formats.testing import catalog_of, find_losses, join_samples, samples
from tests.formats.write_docs import ROOT

DOC = (ROOT / "docs" / "own-format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def block(language, start):
    (found,) = [text for name, text in BLOCKS if name == language and text.startswith(start)]
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The files of the document as a project of its own."""
    folder = tmp_path_factory.mktemp("box-lines")
    for language, name in (("python", "box_lines.py"), ("python", "test_box_lines.py"), ("toml", "pyproject.toml")):
        (folder / name).write_text(block(language, f"# {name}"), encoding="utf-8")
    return folder


@pytest.fixture
def box_lines(project, monkeypatch):
    monkeypatch.syspath_prepend(project)
    monkeypatch.delitem(sys.modules, "box_lines", raising=False)
    return load_format("box_lines:BoxLines")


def test_a_line_is_what_the_document_says(box_lines):
    tree = join_samples(box_lines, samples(), catalog_of(samples()))
    assert list(tree) == ["boxes/test.jsonl", "boxes/train.jsonl", "boxes/val.jsonl"]
    assert block("json", "{").encode() in tree["boxes/train.jsonl"]


def test_it_reports_what_it_cannot_hold(box_lines):
    catalog = catalog_of(samples())
    found = {loss.annotation_id: loss.reason for _, of in find_losses(box_lines, samples(), catalog) for loss in of}
    assert found["p1"] == "UNSUPPORTED_ANNOTATION_TYPE"
    assert found["t1"] == "UNSUPPORTED_ANNOTATION_TYPE"
    assert found["d1"] == "CLASS_DROPPED"


@pytest.mark.usefixtures("box_lines")
def test_the_lines_of_configuration_load_it():
    lines = block("yaml", "formats:")
    settings = parse_config(f"name: x\ntarget: task\nfilter: {{project: 1}}\npath: out\n{lines}")
    loaded = [load_format(entry.name, entry.options) for entry in settings.formats]
    assert [format_.name for format_ in loaded] == ["coco", "box_lines"]


@pytest.mark.usefixtures("box_lines")
def test_the_option_is_an_option():
    tree = join_samples(load_format("box_lines:BoxLines", {"corners": True}), samples(), catalog_of(samples()))
    assert b'"box":[1.0,2.0,4.0,6.0]' in tree["boxes/train.jsonl"]


def test_the_example_is_short():
    code = [line for line in block("python", "# box_lines.py").splitlines() if line.strip()]
    assert len(code) <= 45


def uv(*arguments):
    subprocess.run([Path(sys.executable).with_name("uv"), *arguments], check=True, timeout=240, capture_output=True)


@pytest.fixture(scope="module")
def installed(project, tmp_path_factory):
    """A folder into which the wheels of this package and of the document's are installed, and nothing else."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    for source in (ROOT, project):
        uv("build", "--quiet", "--wheel", "--out-dir", wheels, source)
    uv("pip", "install", "--quiet", "--no-deps", "--target", target, *wheels.glob("*.whl"))
    return target


def run_python(installed, project, *arguments):
    """Run Python in the project's folder, where this repository cannot be imported."""
    # Without site (-S) no .pth file leads to the repository; libraries are found by their folder.
    libraries = [path for path in site.getsitepackages() if os.path.isdir(path)]
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *libraries]), "MYPYPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.xdist_group("wheels")
def test_its_own_test_passes_where_only_wheels_are_installed(installed, project):
    code = "import box_lines, pipeline; print(pipeline.__file__)"
    assert run_python(installed, project, "-c", code).startswith(str(installed))
    passed = run_python(installed, project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0")
    assert re.search(r"^\d\d passed", passed, re.MULTILINE), passed


@pytest.mark.xdist_group("wheels")
def test_its_name_is_known_where_it_is_installed(installed, project):
    listed = run_python(installed, project, "-m", "pipeline", "formats")
    assert "box_lines (of the package box-lines): Boxes in boxes/<split>.jsonl" in listed
    assert "coco: " in listed
    code = "from pipeline.formats import load_format; print(load_format('box_lines', {'corners': True}))"
    assert run_python(installed, project, "-c", code).strip() == "BoxLines(corners=True)"


@pytest.mark.slow  # mypy reads everything that the package imports
@pytest.mark.xdist_group("wheels")
def test_its_types_are_right_where_it_is_installed(installed, project):
    checked = run_python(
        installed, project, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "box_lines.py", "test_box_lines.py"
    )
    assert "Success" in checked
