"""Conversations on a real terminal: whole ones, broken off ones, and those that must not begin."""

import re
import tempfile
from pathlib import Path

import pytest
import yaml

from cli.talk import CTRL_C, DOWN, ENTER, SPACE, Talk
from cli.terminal import colours
from cli.write_transcript import documented, from_token_to_dataset, stable, transcript
from exporting import command, environment, settings, summary, verify, write_config
from pipeline.config import load_config
from pipeline.formats import FORMATS
from pipeline.sandbox import Sandbox, SandboxOptions

QUESTIONS = (
    *("What is exported?", "Project?", "Which records?", "Formats?", "Splits?", "Classes?", "Name of the export?"),
    *("Where to?", "What now?"),
)
HOSTILE = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(records=24)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def many():
    """A sandbox with 500 projects, most of them under Korean, emoji and hostile names."""
    with Sandbox(SandboxOptions(records=5, more_projects=498)) as sandbox:
        yield sandbox


def left_behind(folder):
    """What is in a folder besides the home that a conversation has."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "home")


def talk_to(sandbox, folder, *arguments, **more):
    return Talk(*arguments, env=environment(sandbox), folder=folder, **more)


def answer_until(talk, question):
    """Answer all questions before one with Enter, and wait for that."""
    for earlier in QUESTIONS[: QUESTIONS.index(question)]:
        talk.answer(earlier)
    talk.wait_for(question)


def broken_off(talk, folder):
    """Ctrl-C ends with 130, and leaves nothing but a terminal in its usual state."""
    talk.type(CTRL_C)
    assert talk.end() == 130, talk.screen.text
    assert left_behind(folder) == []
    assert "Traceback" not in talk.screen.text


def test_the_transcript_in_the_documentation_is_what_the_terminal_shows(sandbox):
    with tempfile.TemporaryDirectory() as folder:  # a short path: the terminal breaks lines
        assert stable(transcript(sandbox, Path(folder))) == stable(documented())
        verify(Path(folder) / "exports/dashcam-2026", full=True)
        text = (Path(folder) / "dashcam-2026.yaml").read_text()
    assert sandbox.token not in text
    assert "project: 12 # Dashcam 2026\n" in text


@pytest.mark.slow
def test_twelve_answers_lead_from_a_token_to_a_dataset_and_the_token_is_never_shown(sandbox, tmp_path):
    talk = from_token_to_dataset(sandbox, tmp_path)
    assert talk.end() == 0
    assert talk.answers <= 12
    assert sandbox.token not in talk.raw
    assert left_behind(tmp_path) == ["dashcam-2026.yaml", "exports"]
    assert not any((tmp_path / "home").rglob("config.json"))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("target", ["task", "assignment", "ground_truth"])
def test_a_whole_conversation_for_each_target(sandbox, tmp_path, target, columns):
    talk = talk_to(sandbox, tmp_path, columns=columns)
    talk.answer("What is exported?", DOWN * ("task", "assignment", "ground_truth").index(target) + ENTER)
    if target == "ground_truth":
        talk.answer("Ground truth dataset?")
        talk.answer("Version?")
    else:
        talk.answer("Project?")
    talk.answer("Which records?")
    talk.answer("Formats?", DOWN * list(FORMATS).index("yolo") + SPACE + ENTER)
    talk.answer("Task of YOLO?")
    for question in ("Splits?", "Classes?", "Name of the export?", "Where to?", "What now?"):
        talk.answer(question)
    assert talk.end() == 0, talk.screen.text
    (file,) = tmp_path.glob("*.yaml")
    config = load_config(file)
    assert config.target == target
    assert [entry.name for entry in config.formats] == ["coco", "yolo"]
    assert config.split.by == ("category" if target == "ground_truth" else "hash")
    assert (tmp_path / config.path / "annotations/instances_train.json").exists()
    assert (tmp_path / config.path / "data.yaml").exists()
    verify(tmp_path / config.path, full=True)
    # Each menu fits: no line of a choice is broken.
    assert not any(len(line) > columns for line in talk.screen.text.splitlines())


@pytest.mark.parametrize(
    "question",
    [
        "What is exported?",
        *(
            pytest.param(question, marks=() if question == "Name of the export?" else pytest.mark.slow)
            for question in QUESTIONS[1:]
        ),
    ],
)
def test_ctrl_c_at_a_question_leaves_nothing(sandbox, tmp_path, question):
    talk = talk_to(sandbox, tmp_path)
    answer_until(talk, question)
    broken_off(talk, tmp_path)
    assert "Nothing was written." in talk.screen.text


@pytest.mark.slow
@pytest.mark.parametrize("question", ["Access token?", "Address of the API?", "Token (not shown)"])
def test_ctrl_c_at_a_question_about_credentials_leaves_nothing(tmp_path, question):
    talk = Talk(env=environment(), folder=tmp_path)
    for earlier in ("Access token?", "Address of the API?"):
        if earlier == question:
            break
        talk.answer(earlier)
    talk.wait_for(question)
    broken_off(talk, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_a_project_of_500_is_found_by_a_part_of_its_name(many, tmp_path, columns):
    talk = talk_to(many, tmp_path, "new", "--target", "task", columns=columns)
    talk.answer("all 500", "nothing of the kind\r")
    talk.told("none is called like")
    talk.answer("all 500", "주차장 7\r")
    talk.wait_for("🚗 주차장 7")
    talk.answer("search again", ENTER)
    talk.answer("Which records?", CTRL_C)
    assert talk.end() == 130
    assert "? Project? 🚗 주차장 7" in talk.screen.text
    assert not HOSTILE.search(talk.raw.replace("\r", "").replace("\n", "").replace("\x1b", ""))


@pytest.mark.slow
def test_names_from_the_server_are_neither_markup_nor_commands(many, tmp_path):
    talk = talk_to(many, tmp_path, "new", "--target", "task")
    talk.answer("all 500", "bell\r")
    talk.answer("[31mred 4", ENTER)
    talk.answer("Which records?", CTRL_C)
    assert talk.end() == 130
    assert "Bell \ufffd and \ufffd[31mred 4" in talk.screen.text
    assert "\x07" not in talk.raw
    assert "\x1b[31m" not in talk.raw


@pytest.mark.slow
def test_wrong_answers_are_asked_again(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path, "new", "--target", "task", "--project", "12")
    talk.answer("Which records?", DOWN * 2 + ENTER)
    talk.answer("Filter by?", DOWN + ENTER)
    talk.answer("status_label?", ENTER)
    talk.told("mark at least one")
    talk.answer("status_label?", DOWN * 2 + SPACE + ENTER)
    talk.answer("Filter by?", DOWN * 3 + ENTER)
    talk.answer("tags?", DOWN + SPACE + ENTER)
    talk.answer("Filter by?", DOWN * 5 + ENTER)
    talk.answer("reviewers?", "me\r")
    talk.shows("takes ids")
    talk.type("\x15\r")
    talk.shows("give ids")
    talk.type(CTRL_C)
    assert talk.end() == 130
    assert left_behind(tmp_path) == []


@pytest.mark.slow
def test_filters_and_other_answers_that_are_wrong_at_first(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path, "new", "--target", "task", "--project", "12")
    talk.answer("Which records?", DOWN * 2 + ENTER)
    talk.answer("Filter by?", DOWN + ENTER)
    talk.answer("status_label?", DOWN * 2 + SPACE + ENTER)
    talk.answer("Filter by?", ENTER)
    talk.answer("Formats?", SPACE + ENTER)
    talk.told("mark at least one")
    talk.answer("Formats?", ENTER)
    talk.answer("Splits?", DOWN + ENTER)
    talk.answer("Shares of train", "1\r")
    talk.shows("add up to 100")
    talk.type("\x1550 25 25\r")
    talk.answer("Classes?", DOWN + ENTER)
    talk.answer("Classes to keep?", SPACE + ENTER)
    talk.answer("Name of the export?", "\x15\r")
    talk.shows("1 to 200 letters")
    talk.type("밤 🚦: yes\r")
    talk.answer("Where to?", DOWN + ENTER)
    talk.answer("Path or URL?", "./out\r")
    talk.answer("What now?", DOWN + ENTER)
    assert talk.end() == 0, talk.screen.text
    assert left_behind(tmp_path) == ["밤-yes.yaml"]
    config = load_config(tmp_path / "밤-yes.yaml")
    assert (config.name, config.path) == ("밤 🚦: yes", "./out")
    assert config.filter == {"project": 12, "status_label": "completed"}
    assert config.split.ratios == {"train": 0.5, "val": 0.25, "test": 0.25}
    assert config.classes.drop == ("car",)


@pytest.mark.slow
def test_a_token_that_is_refused_halfway_is_asked_for_again(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path)
    talk.answer("What is exported?")
    talk.wait_for("Project?")
    sandbox.revoke_token()
    try:
        talk.answer("Project?")
        talk.wait_for("does not accept the access token")
        talk.wait_for("Access token?")
    finally:
        sandbox.restore_token()
    talk.answer("Access token?")
    talk.answer("Address of the API?")
    talk.answer("Token (not shown)", sandbox.token + ENTER)
    for question in QUESTIONS[2:]:
        talk.answer(question)
    assert talk.end() == 0, talk.screen.text
    assert sandbox.token not in talk.raw


@pytest.mark.slow
def test_a_storage_of_synapse_is_chosen_by_name(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path)
    answer_until(talk, "Where to?")
    talk.answer("Where to?", DOWN * 2 + ENTER)
    talk.answer("Storage?")
    talk.answer("Path inside the storage?")
    talk.answer("What now?", DOWN + ENTER)
    assert talk.end() == 0, talk.screen.text
    config = load_config(tmp_path / "dashcam-2026.yaml")
    assert (config.storage, config.path) == (11, "exports/dashcam-2026")


@pytest.mark.slow
def test_a_project_narrows_the_ground_truth_datasets(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path, "plan", "--target", "ground_truth", "--project", "13")
    talk.wait_for("Ground truth dataset?")
    talk.wait_for("dataset-210")
    assert "교차로" not in talk.screen.text
    talk.answer("dataset-210")
    talk.told("its only version is 0.1.0")
    talk.answer("Which records?", CTRL_C)
    assert talk.end() == 130


@pytest.mark.slow
def test_an_answer_can_be_changed_after_the_plan(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path)
    answer_until(talk, "What now?")
    talk.answer("What now?", DOWN * 2 + ENTER)
    talk.answer("Which answer?", DOWN * 6 + ENTER)
    talk.answer("Name of the export?", "\x15second\r")
    talk.answer("What now?", DOWN + ENTER)
    assert talk.end() == 0, talk.screen.text
    assert left_behind(tmp_path) == ["second.yaml"]


@pytest.mark.slow
def test_a_file_that_is_there_is_not_replaced(sandbox, tmp_path):
    (tmp_path / "dashcam-2026.yaml").write_text("mine")
    talk = talk_to(sandbox, tmp_path, "plan")
    for question in QUESTIONS:
        talk.answer(question)
    assert talk.end() == 0
    assert (tmp_path / "dashcam-2026.yaml").read_text() == "mine"
    assert left_behind(tmp_path) == ["dashcam-2026-2.yaml", "dashcam-2026.yaml"]


def test_a_configuration_is_asked_for_what_it_lacks_and_nothing_else(sandbox, tmp_path):
    values = settings(sandbox, tmp_path / "out", formats=["csv"], save_original_file=False)
    del values["name"]
    config = write_config(tmp_path, values)
    before = config.read_bytes()
    talk = talk_to(sandbox, tmp_path, "run", str(config))
    talk.answer("Name of the export?", "\x15mine\r")
    assert talk.end() == 0, talk.screen.text
    assert "config.yaml lacks name." in talk.screen.text
    told = talk.screen.text.replace("\n", "")  # a long path is broken at the edge of the screen
    assert re.search(r" run \S*config.yaml --set name=mine", told)
    assert config.read_bytes() == before
    assert summary(tmp_path / "out")["name"] == "mine"


@pytest.mark.slow
def test_a_project_that_a_configuration_lacks_is_chosen_by_name(sandbox, tmp_path):
    values = settings(sandbox, tmp_path / "out", formats=["csv"], filter={"status_label": "completed"})
    config = write_config(tmp_path, values)
    talk = talk_to(sandbox, tmp_path, "plan", str(config))
    talk.answer("Project?")
    assert talk.end() == 0, talk.screen.text
    assert "18 records of Dashcam 2026" in talk.screen.text
    assert "--set filter.project=12" in talk.screen.text.replace("\n", "")  # the terminal breaks the line


def test_a_terminal_that_can_only_print_gets_numbered_lines(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path, TERM="dumb")
    talk.answer("What is exported?", "7\r")
    talk.answer("a number from 1 to 3, please", "1\r")
    talk.answer("Project?", "\r")
    talk.wait_for("Which records?")
    broken_off(talk, tmp_path)
    assert "\x1b" not in talk.raw


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_a_whole_conversation_without_colours(sandbox, tmp_path, variables):
    talk = talk_to(sandbox, tmp_path, **variables)
    for question in QUESTIONS:
        talk.answer(question)
    assert talk.end() == 0, talk.screen.text
    assert colours(talk.raw) == []
    verify(tmp_path / "exports/dashcam-2026", full=True)


@pytest.mark.parametrize("name", ["run", "plan", "new"])
def test_without_a_terminal_one_line_names_what_is_missing(name):
    done = command(name, "--target", "task", "--project", "12", "--name", "x", env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: CONFIG is missing; name a file, or give --format, --path\n"


def test_no_input_asks_nothing_on_a_terminal(sandbox, tmp_path):
    talk = talk_to(sandbox, tmp_path, "run", "--no-input", "--target", "ground_truth")
    assert talk.end() == 2
    wanted = "error: CONFIG is missing; name a file, or give --dataset-version, --format, --name, --path"
    assert talk.screen.text.strip() == wanted


def test_flags_alone_describe_an_export(sandbox, tmp_path):
    done = command(
        *("run", "--target", "task", "--project", "12", "--format", "csv", "--name", "x"), "--path", tmp_path / "out",
        *("--set", "save_original_file=false", "--set", "run.executor=serial"), env=environment(sandbox),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "out/metadata/export_summary.json").read_text())["name"] == "x"
