"""What a run shows on a real terminal: all stages on one screen, in words where it cannot draw, and what it took."""

import re

import pytest

from cli.terminal import Terminal, colours, lines
from exporting import command, environment, settings, write_config
from pipeline.sandbox import Sandbox, SandboxOptions


@pytest.fixture(scope="module")
def slow():
    """Originals take a while, so that there is something to see."""
    with Sandbox(SandboxOptions(profile="tidy", records=24, blob_latency=0.05)) as sandbox:
        yield sandbox


def configured(sandbox, folder, **overrides):
    return write_config(folder, settings(sandbox, folder / "out", formats=["coco"], **overrides))


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_all_stages_and_one_line_about_the_run(slow, tmp_path, columns):
    config = configured(slow, tmp_path, run={"shard_size": 24, "requests": 1})
    terminal = Terminal("run", config, env=environment(slow), columns=columns)
    assert terminal.end() == 0, terminal.text
    shown = lines(terminal.text)
    assert shown[0].startswith("reading ")
    drawn = [line for line in shown if re.match(r" *(plan|extract|render|merge|publish) [━╸╺ ]", line)]
    assert {line.split()[0] for line in drawn} == {"plan", "extract", "render", "merge", "publish"}
    assert max(map(len, drawn)) <= columns
    assert any("24 of 24" in line for line in drawn)
    renders = {
        int(line.split(" of ")[0].split()[-1]) for line in drawn if line.split()[0] == "render" and " of " in line
    }
    assert len(renders) > 2, "render moves within its only shard"
    about = [line for line in shown if " elapsed" in line]
    assert max(map(len, about)) <= columns
    assert any(line.endswith("to go") for line in about)
    assert any(re.search(r"elapsed, .* …$", line) for line in about), "before a stage it says what it does"
    result = [line for line in shown if line.startswith(("elapsed: ", "objects"))]
    assert len(result) == 2
    assert "\x1b[?25h" in terminal.text[-2000:] or terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l")


def test_no_color_is_without_colours(slow, tmp_path):
    coloured = Terminal("run", configured(slow, tmp_path), env=environment(slow))
    assert coloured.end() == 0
    assert colours(coloured.text)
    (tmp_path / "plain").mkdir()
    plain = Terminal("run", configured(slow, tmp_path / "plain"), env=environment(slow), NO_COLOR="1")
    assert plain.end() == 0
    assert not colours(plain.text)
    assert "24 of 24" in plain.text


def test_a_terminal_that_can_only_print_gets_lines(slow, tmp_path):
    terminal = Terminal("run", configured(slow, tmp_path), env=environment(slow), TERM="dumb")
    assert terminal.end() == 0, terminal.text
    assert "\x1b" not in terminal.text
    shown = lines(terminal.text)
    for text in ("reading ", "asking Synapse for the project …", "checking the destination …", "extract: 24 of 24"):
        assert any(line.startswith(text) for line in shown), text


def test_an_error_is_the_last_line_below_the_stages(slow, tmp_path):
    config = configured(slow, tmp_path, filter={"project": slow.project_id, "id": 1})
    terminal = Terminal("run", config, env=environment(slow))
    assert terminal.end() == 4
    assert lines(terminal.text)[-1].startswith("error: ")
    assert terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l"), "the cursor is shown again"


def test_the_objects_of_each_class_and_split_are_told_at_the_end(slow, tmp_path):
    done = command("run", configured(slow, tmp_path), env=environment(slow))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "words for people are not for programs"
    told = done.stdout.splitlines()
    start = next(number for number, line in enumerate(told) if line.startswith("objects"))
    header, rows = told[start].split(), told[start + 1 :]
    assert header[-1] == "total"
    names = next(line for line in told if line.startswith("classes ("))
    count = int(re.search(r"\((\d+)\)", names)[1])
    for row in rows[:count]:
        *counts, total = (0 if cell == "–" else int(cell) for cell in row.split()[-len(header) + 1 :])
        assert sum(counts) == total > 0
