"""Lists of what there is to choose from: all pages, by name, for people and for programs."""

import json
import re

import pytest

from exporting import command, environment, settings, write_config
from pipeline.sandbox import Sandbox, SandboxOptions
from terminals import on_terminal

HOSTILE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def many():
    """A sandbox with 500 projects, most of them under Korean, emoji and hostile names."""
    with Sandbox(SandboxOptions(records=5, more_projects=498)) as sandbox:
        yield sandbox


def told(sandbox, *arguments, code=0, **variables):
    done = command(*arguments, env=environment(sandbox, **variables))
    assert done.returncode == code, done.stderr
    return done


def found(sandbox, *arguments, code=0, **variables):
    done = told(sandbox, *arguments, "--json", code=code, **variables)
    return json.loads(done.stderr if code else done.stdout)


def test_projects_are_listed_with_all_pages_of_the_newer_api(many):
    many.clear_requests()
    listed = found(many, "projects")
    assert listed["is_complete"]
    assert len({row["id"] for row in listed["projects"]}) == 500
    assert listed["projects"][0] == {
        "id": many.project_id, "title": "Dashcam 2026", "category": "image", "tasks": 8, "is_archived": False,
        "created": "2026-07-01T00:00:00+09:00",
    }  # fmt: skip
    titles = {row["title"] for row in listed["projects"]}
    assert {"보행자 검출 1", "🚗 주차장 2", "Bell \x07 and \x1b[31mred 4"} <= titles
    assert [request["path"] for request in many.requests()] == ["/v2/projects/"] * 3


def test_projects_are_listed_with_all_pages_of_the_older_api_where_the_newer_is_not_there(many):
    many.set_faults(["api:404:match=/v2/"])
    try:
        listed = found(many, "projects")
    finally:
        many.set_faults([])
    assert listed["is_complete"]
    assert len({row["id"] for row in listed["projects"]}) == 500
    assert (listed["projects"][0]["tasks"], listed["projects"][0]["is_archived"]) == (None, False)


@pytest.mark.parametrize(
    ("search", "number"),
    [("dashcam", 1), ("DASHCAM", 1), ("보행자", 100), ("1003", 1), ("🚗", 100), ("nothing at all", 0)],
)
def test_projects_are_found_by_a_part_of_their_title_or_by_their_id(many, search, number):
    assert len(found(many, "projects", search)["projects"]) == number


def test_a_list_without_a_terminal_is_lines_of_cells_between_tabs(many):
    lines = told(many, "projects").stdout.splitlines()
    assert lines[0].split("\t") == ["id", "title", "category", "tasks", "archived", "created"]
    assert len(lines) == 501
    assert {line.count("\t") for line in lines} == {5}
    assert "Tab\ufffdand\ufffdline 5" in lines[7]
    assert not any(HOSTILE.search(line.replace("\t", "")) for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_names_are_no_markup_and_no_commands_to_the_terminal(many, columns):
    code, written = on_terminal("projects", env=environment(many, NO_COLOR="1"), columns=columns)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", written)  # rich's own: a heading is bold without colours, too
    assert "\x1b[31m" not in written
    assert "보행자 검출 1" in text
    assert "Crossing [bold red]markup[/] 3" in text
    assert "Bell \ufffd and \ufffd[31mred 4" in text
    assert not HOSTILE.search(text.replace("\r", ""))
    assert "500 projects" in text.splitlines()[-1]


def test_json_is_plain_ascii_where_output_has_no_other_letters(many):
    listed = told(many, "projects", "보행자", "--json", PYTHONIOENCODING="ascii")
    assert listed.stdout.isascii()
    assert json.loads(listed.stdout)["projects"][0]["title"] == "보행자 검출 1"
    assert "\\u" in told(many, "projects", "보행자", PYTHONIOENCODING="ascii").stdout  # no traceback


def test_control_characters_are_escaped_in_json(many):
    line = told(many, "projects", "1004", "--json").stdout
    assert "Bell \\u0007 and \\u001b[31mred" in line
    assert not HOSTILE.search(line.rstrip("\n"))


def test_ground_truths_and_their_versions_lead_to_the_filter_of_an_export(tidy, tmp_path):
    assert found(tidy, "ground-truths", 12)["ground_truths"] == [{"id": 209, "name": "교차로 정답 🚦"}]
    assert len(found(tidy, "ground-truths")["ground_truths"]) == 2
    versions = found(tidy, "versions", 209)["versions"]
    assert [(row["id"], row["version"]) for row in versions] == [(99, "1.2.0"), (98, "1.1.0")]
    chosen = {"ground_truth_dataset_version": versions[0]["id"]}
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", target="ground_truth") | {"filter": chosen})
    assert told(tidy, "plan", config).returncode == 0


def test_storages_are_listed_without_what_is_secret_in_them(tidy):
    storages = found(tidy, "storages")["storages"]
    assert [(row["id"], row["provider"], row["is_default"]) for row in storages] == [
        (tidy.storage_id, "file_system", True), (12, "http", False),
    ]  # fmt: skip
    assert str(tidy.storage_location) not in told(tidy, "storages").stdout


@pytest.mark.parametrize("faults", [[], ["api:404:match=/v2/"]], ids=["v2", "v1"])
def test_tags_are_those_of_the_project(faults):
    with Sandbox(SandboxOptions(records=3)) as sandbox:
        sandbox.set_faults(faults)
        assert found(sandbox, "tags", sandbox.project_id)["tags"][1] == {"id": 2, "name": "비 오는 날 🌧"}
        assert found(sandbox, "tags", 13)["tags"] == []


def test_classes_are_in_their_official_order_with_tools_and_skeletons(tidy):
    listed = found(tidy, "classes", tidy.project_id)
    assert listed["project"] == {"id": tidy.project_id, "title": "Dashcam 2026"}
    assert [row["name"] for row in listed["classes"]][:3] == ["car", "bus", "truck"]
    assert listed["classes"][0]["tools"] == ["bounding_box", "segmentation"]
    (skeleton,) = listed["skeletons"]
    assert skeleton["name"] == "person"
    assert len(skeleton["points"]) == 17
    assert ["left_ankle", "left_knee"] in skeleton["edges"]
    assert skeleton["mirrored"]["left_eye"] == "right_eye"


@pytest.mark.parametrize("target", ["task", "ground_truth"])
def test_a_configuration_names_the_project(tidy, tmp_path, target):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", target=target))
    assert found(tidy, "classes", "--config", config)["project"]["id"] == tidy.project_id
    assert len(found(tidy, "tags", "--config", config)["tags"]) == 4
    assert len(found(tidy, "ground-truths", "--config", config)["ground_truths"]) == 1


def test_what_is_missing_is_named(tidy):
    done = told(tidy, "tags", code=2)
    assert done.stderr == (
        "error: PROJECT: is missing; give its id, which the command projects lists, or --config my.yaml\n"
    )


def test_an_error_is_json_where_json_was_asked_for(tidy):
    assert found(tidy, "classes", 14, code=2)["error"] == {
        "code": "preflight_error",
        "message": f"project 14: {tidy.url} refuses access with this token (HTTP 403)",
        "hint": "",
    }
    wrong = found(tidy, "projects", code=2, SYNAPSE_ACCESS_TOKEN="canary-token")["error"]
    assert wrong["code"] == "credentials_error"
    assert wrong["hint"] == "set SYNAPSE_ACCESS_TOKEN or run 'synapse login'"
    usage = found(tidy, "versions", code=2)["error"]
    assert (usage["code"], usage["message"]) == ("usage_error", "Missing argument 'DATASET'")
    assert told(tidy, "versions", "--json", code=2).stdout == ""


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("api:html", 2, "answers with a text instead of projects"),
        ("api:redirect", 2, "answers with a redirect"),
        ("api:503", 1, "answered HTTP 503 when asked for projects"),
        ("api:badjson", 2, "answers with a text instead of projects"),
    ],
)
def test_a_server_in_trouble_is_one_line(fault, code, words):
    with Sandbox(SandboxOptions(records=3, more_projects=5, faults=())) as sandbox:
        sandbox.set_faults([fault])
        done = told(sandbox, "projects", code=code)
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_the_token_of_synapse_login_is_found(tidy, tmp_path):
    (tmp_path / ".synapse").mkdir()
    told_there = {"host": tidy.url, "access_token": tidy.token}
    (tmp_path / ".synapse/config.json").write_text(json.dumps(told_there))
    done = command("projects", "--json", env=environment(HOME=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["projects"]) == 2
