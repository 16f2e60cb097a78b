"""A format that is not ours may be wrong in any way: the error names it, and only a complete export ends with 0."""

import importlib
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporting import ROOT, command, environment, export, settings, verify, write_config
from pipeline.errors import ConfigError, FormatError
from pipeline.formats import load_format, load_formats
from pipeline.formats.output_paths import RESERVED_NAMES, PathOwners

SOURCE = """
import sys

from pipeline.formats import Entry, Loss, Manifest, Section

{top}

class Mine:
    name = "mine"
    needs_payload = False

    def __init__(self):
        {init}

    def manifests(self, catalog):
        {manifests}

    def render(self, sample, catalog):
        {render}
"""
GOOD = {
    "top": "", "init": "pass", "manifests": "return []",
    "render": "return [Entry(f'mine/{sample.stem}.txt', sample.split.encode())]",
}  # fmt: skip


def write_format(folder, **parts):
    (folder / "mine.py").write_text(SOURCE.format(**{**GOOD, **parts}))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write the module of a format, as it is imported next."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**parts):
        write_format(tmp_path, **parts)
        sys.modules.pop("mine", None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return ["mine:Mine"]

    yield write
    sys.modules.pop("mine", None)


def entry(path):
    return f"return [Entry({path!r}, b'x')]"


PATHS = {
    "an image": "images/train/x.jpg",
    "another original": "Files/train/x.mp4",
    "the list of files": "metadata/files.csv",
    "in other letters": "METADATA/Files.csv",
    "checksums": "metadata/SHA256SUMS",
    "checksums at the root": "SHA256SUMS",
    "the verdict": "_SUCCESS.json",
    "staging": "_staging/locks/lock.json",
    "a line break": "mine/a\nb.txt",
    "half a character": "mine/\ud800.txt",
    "a formula": "=cmd.txt",
    "outside": "../x.txt",
    "absolute": "/etc/x",
    "backslash": "a\\b",
    "nothing": "",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_that_no_format_may_have_is_refused_before_anything_is_written(tidy, tmp_path, mine, path):
    with pytest.raises(FormatError, match=r"^mine: gives a file the path "):
        export(tidy, tmp_path / "out", formats=mine(render=entry(path)), save_original_file=False)
    assert not list((tmp_path / "out").glob("[!_]*"))


@pytest.mark.parametrize("path", ["metadata/records.csv", "metadata/files.csv", "_SUCCESS.json", "a\nb"])
def test_a_joined_file_may_not_have_it_either(tidy, tmp_path, mine, path):
    manifests = f"return [Manifest({path!r}, (Section('all', open=b'x'),))]"
    with pytest.raises(FormatError, match=r"^mine: gives a file the path "):
        export(tidy, tmp_path / "out", formats=mine(manifests=manifests), save_original_file=False)


@pytest.mark.parametrize("packaging", ["files", "tar"])
@pytest.mark.parametrize(
    "render",
    [
        entry("mine/same.txt"),
        "return [Entry(f'mine/{sample.stem}.txt', b''), Entry(f'Mine/{sample.stem}.TXT', b'')]",
        entry("annotations/instances_train.json"),
    ],
    ids=["of every sample", "in other letters", "of another format"],
)
def test_a_path_that_is_taken_is_refused(tidy, tmp_path, mine, render, packaging):
    formats = ["coco", *mine(render=render)]
    with pytest.raises(
        FormatError,
        match=r"^mine: writes .*, which (it has written before|is also written by coco); make the path differ",
    ):
        export(tidy, tmp_path / "out", formats=formats, packaging=packaging)


def test_samples_of_different_shards_may_not_share_a_path(tidy, tmp_path, mine):
    formats = mine(render="return [Entry(f'mine/{sample.image_id % 20}.txt', b'x')]")
    with pytest.raises(
        FormatError, match=r"^mine: writes mine/\d+.txt for samples of several shards; make the path differ"
    ):
        export(tidy, tmp_path / "out", formats=formats, run={"shard_size": 10}, save_original_file=False)
    assert not (tmp_path / "out/_SUCCESS.json").exists()


def test_a_good_format_is_exported_and_proven(tidy, tmp_path, mine):
    manifests = "return [Manifest('mine/all.txt', (Section('all', open=b'x'),))]"
    export(tidy, tmp_path / "out", formats=["coco", *mine(manifests=manifests)])
    verify(tmp_path / "out", full=True)
    assert len(list((tmp_path / "out/mine").iterdir())) > 2


WRONG = {
    "text": ("render", "return 'pixels'", "render gives a str; it must be a list"),
    "nothing": ("render", "return None", "render gives a NoneType; it must be a list"),
    "a list of text": ("render", "return ['pixels']", "render gives a str; it must be an object of the class Entry"),
    "text for bytes": ("render", "return [Entry('a', 'b')]", "an?.* Entry whose data is of the class str"),
    "a path of bytes": ("render", "return [Entry(b'a', b'b')]", "Entry whose path is of the class bytes"),
    "an outcome": ("render", "return [Loss('', 'gone', 'X')]", "a Loss whose outcome is 'gone'"),
    "text for manifests": ("manifests", "return 'a'", "manifests gives a str; it must be a list"),
    "a manifest of text": ("manifests", "return ['a']", "an object of the class Manifest"),
    "a section of text": ("manifests", "return [Manifest('a', ('b',))]", "an object of the class Section"),
    "two sections": ("manifests", "return [Manifest('a', (Section('b'), Section('b')))]", "two sections of one name"),
    "an error in manifests": ("manifests", "raise KeyError('x')", "manifests raises KeyError: 'x'"),
    "an end in render": ("render", "sys.exit(0)", "ends the process in render; raise an error"),
    "an end in manifests": ("manifests", "sys.exit()", "ends the process in manifests; raise an error"),
}


@pytest.mark.parametrize(("member", "code", "told"), WRONG.values(), ids=WRONG)
def test_an_answer_of_another_kind_is_told_with_the_name_of_the_format(tidy, tmp_path, mine, member, code, told):
    with pytest.raises(FormatError, match=f"^mine: .*{told.removeprefix('an?.* ')}"):
        export(tidy, tmp_path / "out", formats=mine(**{member: code}), save_original_file=False)


@pytest.mark.parametrize("part", ["top", "init"])
@pytest.mark.parametrize("code", ["sys.exit(0)", "raise RuntimeError('out of order')"])
def test_what_cannot_be_loaded_is_an_error_of_the_configuration(mine, part, code):
    with pytest.raises(ConfigError, match="mine"):
        load_format(*mine(**{part: code}))


def test_a_name_that_is_no_text_is_an_error_of_the_configuration(mine):
    with pytest.raises(ConfigError, match="must be text, not 7"):
        load_formats([(*mine(init="self.name = 7"), {})])


@pytest.mark.parametrize("part", ["top", "init", "manifests", "render"])
@pytest.mark.parametrize("code", ["sys.exit(0)", "sys.exit(7)"])
def test_only_a_complete_export_ends_with_0(tidy, tmp_path, part, code):
    write_format(tmp_path, **{part: code})
    values = settings(tidy, tmp_path / "out", formats=["mine:Mine"], save_original_file=False)
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode in (1, 2), done.stdout
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out/_SUCCESS.json").exists()


def test_a_job_whose_format_ends_the_process_has_failed(tidy, tmp_path):
    write_format(tmp_path, render="sys.exit(0)")
    values = settings(tidy, tmp_path / "out", formats=["mine:Mine"], save_original_file=False)
    script = (
        "import sys; from pathlib import Path; from pipeline.cli.job import main; sys.exit(main(sys.argv[1:], Path()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(write_config(tmp_path, values))],
        env=environment(tidy), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "verdict: failed; submit it again to continue (exit code 1)"


@pytest.mark.parametrize("code", ["raise KeyError('x')", "sys.exit(0)", "return 7"])
def test_what_fails_after_the_verdict_does_not_change_it(tidy, tmp_path, code):
    write_format(tmp_path, init=f"pass\n\n    def how_to_read(self, url, split):\n        {code}")
    source = (tmp_path / "mine.py").read_text().replace("class Mine", "class Mine(BaseFormat)")
    (tmp_path / "mine.py").write_text(source.replace("import Entry", "import BaseFormat, Entry"))
    values = settings(tidy, tmp_path / "out", formats=["mine:Mine"], save_original_file=False)
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  mine: .*how_to_read", done.stdout, re.MULTILINE)
    verify(tmp_path / "out", full=True)


def test_help_of_the_sandbox_still_ends_with_0():
    assert command("sandbox", "--help", env=environment()).returncode == 0
    assert command("sandbox", "--bogus", env=environment()).returncode == 2


def accepted(paths):
    """Those of the paths that one format is given, in order."""
    owners, found = PathOwners(), []
    for path in paths:
        try:
            owners.claim(path, "mine")
        except FormatError:
            continue
        found.append(path)
    return found


PART = st.sampled_from([*RESERVED_NAMES, "a", "A", "b.txt", "..", ".", "", "=", "\n", "é", "e\u0301", "ＭＥＴＡ"])


@given(st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), max_size=6))
def test_accepted_paths_are_apart_from_each_other_and_from_what_the_export_writes(paths):
    found = accepted(paths)
    assert len({path.casefold() for path in found}) == len(found)
    for path in found:
        assert path.split("/")[0].casefold() not in {name.casefold() for name in RESERVED_NAMES}
        assert len(path.splitlines()) == 1
        assert ".." not in path.split("/")


@pytest.mark.parametrize("place", ["its folder", "another folder"])
def test_the_command_finds_a_format_beside_the_configuration(tmp_path, place):
    write_format(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    there = place == "its folder"
    told = ["mine:Mine"] if there else ["mine:Mine", "--config", tmp_path / "my.yaml"]
    env = environment(PYTHONPATH=str(ROOT), PYTHONSAFEPATH="1")  # as the installed program, which adds no folder
    done = command("formats", *told, env=env, cwd=tmp_path if there else tmp_path / "elsewhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mine does not declare what it loses")


def test_a_format_that_is_not_there_is_one_line(tmp_path):
    done = command("formats", "nowhere:Mine", env=environment(PYTHONPATH=str(ROOT)), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: formats: cannot load 'nowhere:Mine': ModuleNotFoundError")
    assert "--config" in done.stderr
