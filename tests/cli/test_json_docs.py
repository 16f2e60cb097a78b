"""What docs/json.md says of the output for programs is what the commands print."""

import json
import re

import jsonschema
import pytest
import typer.main
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from exporting import ROOT, command, environment, export, settings, storage, write_config
from pipeline import errors
from pipeline.cli import app as command_line
from pipeline.cli.app import app
from pipeline.commands.doctor import CHECKS
from pipeline.destination.lock import hold_lock

PAGE = (ROOT / "docs/json.md").read_text()
SCHEMAS = {
    schema["title"]: schema
    for schema in map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
}
REGISTRY = Registry().with_resources(
    (schema["$id"], DRAFT202012.create_resource(schema)) for schema in SCHEMAS.values() if "$id" in schema
)
# More than one call of a command, where its output has more than one form.
CALLS = [
    ("projects", ["projects"]),
    ("projects", ["projects", "nothing has this name"]),
    ("ground-truths", ["ground-truths"]),
    ("versions", ["versions", "209"]),
    ("storages", ["storages"]),
    ("tags", ["tags", "12"]),
    ("classes", ["classes", "12"]),
    ("doctor", ["doctor"]),
    ("doctor --list-checks", ["doctor", "--list-checks"]),
    ("status", ["status", "/nowhere"]),
    ("formats", ["formats"]),
    ("formats FORMAT", ["formats", "yolo", "task=segment"]),
    ("error", ["formats", "bogus"]),
    ("error", ["plan", "nowhere.yaml"]),
    ("error", ["run", "nowhere.yaml"]),
    ("error", ["retry-failed", "nowhere.yaml"]),
    ("diff", ["diff", "EXPORT", "CONFIG"]),
    ("error", ["classes", "14"]),
    ("error", ["projects", "--bogus"]),
    ("error", ["doctor", "--check", "bogus"]),
]


def check(name, text):
    """The value of the one line that ``text`` is, which is as documented."""
    (line,) = text.splitlines()
    jsonschema.Draft202012Validator(SCHEMAS[name], registry=REGISTRY).validate(json.loads(line))
    return json.loads(line)


@pytest.fixture(scope="module")
def places(tidy, tmp_path_factory):
    """An export, and a configuration of which the API has something else."""
    folder = tmp_path_factory.mktemp("places")
    table = {"formats": ["csv"], "save_original_file": False}
    export(tidy, folder / "out", **table)
    other = {"split": "none", "classes": {"rename": {"car": "vehicle"}}}
    config = write_config(folder, settings(tidy, folder / "other", **table, **other))
    return {"EXPORT": folder / "out", "CONFIG": config}


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[" ".join(arguments) for _, arguments in CALLS])
def test_the_output_is_as_documented(tidy, places, name, arguments):
    arguments = [places.get(argument, argument) for argument in arguments]
    done = command(*arguments, "--json", env=environment(tidy))
    line, nothing = (done.stderr, done.stdout) if name == "error" else (done.stdout, done.stderr)
    check(name, line)
    assert (done.returncode == 2) is (name == "error")
    assert nothing == ""


def test_the_findings_of_a_configuration_are_as_documented(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, "/proc/export"))
    done = command("doctor", config, "--json", env=environment(tidy))
    told = json.loads(done.stdout)
    jsonschema.validate(told, SCHEMAS["doctor"], cls=jsonschema.Draft202012Validator)
    for check in told["checks"]:
        assert bool(check["fix"]) is (check["state"] in ("warning", "error")), check
    assert (told["ready"], done.returncode) == (False, 1)


def test_an_export_from_its_plan_to_its_end_is_as_documented(tidy, tmp_path):
    """Every command that works on one export, where there is something to do and where there is nothing."""
    env = environment(tidy)
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", formats=["coco"]))

    def told(name, *arguments, code=0):
        done = command(*arguments, "--json", env=env)
        assert (done.returncode, done.stderr) == (code, "")
        return check(name, done.stdout)

    planned = told("plan", "plan", config)
    assert (planned["state"], planned["records"], planned["obstacles"]) == ("start", 60, [])
    done = command("run", config, "--json-progress", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    events = [check("run --json-progress", line) for line in done.stdout.splitlines()]
    result = check("run", done.stdout.splitlines()[-1])
    assert [event["type"] for event in events].count("result") == 1
    ended = [event["progress"]["stages"] for event in events if event["type"] == "progress"][-1]
    assert {stage["state"] for stage in ended} == {"done"}
    assert not result["already_finished"]
    assert sum(sum(one["objects"].values()) for one in result["classes"]) > 60
    assert sum(result["splits"].values()) == result["books"]["formats"]["coco"]["samples"]["written"]
    assert result["content"] == told("verify", "verify", tmp_path / "out", "--full")["content"]
    again = told("run", "run", config, "--fail-if-nothing", code=6)
    assert (again["already_finished"], again["run_id"]) == (True, result["run_id"])
    assert told("run", "run", config)["already_finished"]
    retried = told("retry-failed", "retry-failed", config, "--fail-if-nothing", code=6)
    assert retried["messages"] == ["no record failed: there is nothing to retry"]
    assert told("clean", "clean", tmp_path / "out", "--fail-if-nothing", code=6)["finished"]
    (tmp_path / "out/metadata/files.csv").write_text("damaged")
    damaged = command("verify", tmp_path / "out", "--json", env=env)
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert check("error", damaged.stderr)["error"]["code"] == "verification_error"


def test_a_path_that_is_held_is_an_error_with_a_code_of_its_own(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", formats=["coco"]))
    with hold_lock(storage(tmp_path / "out"), "at-work"):
        done = command("run", config, "--json", env=environment(tidy))
    assert (done.returncode, done.stdout) == (5, "")
    error = check("error", done.stderr)["error"]
    assert error["code"] == "path_held_error"
    assert "--break-lock" in error["hint"]


def test_every_command_with_json_is_documented_and_tried():
    with_json = {
        name
        for name, found in typer.main.get_command(app).commands.items()
        if any("--json" in parameter.opts for parameter in found.params)
    }
    assert with_json == {title.split()[0] for title in SCHEMAS} - {"error", "books"}
    apart = {"plan", "run", "retry-failed", "run --json-progress", "verify", "clean", "books"}  # one export, in order
    assert {name for name, _ in CALLS} == set(SCHEMAS) - apart
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_codes_of_errors_and_their_exit_codes_are_documented():
    documented = dict(re.findall(r"^\| `(\w+)` \| .* \| (\d) \|$", PAGE, re.MULTILINE))
    known = [vars(module).values() for module in (errors, command_line)]
    kinds = {
        kind("what").code: kind.exit_code
        for kind in (one for values in known for one in values)
        if isinstance(kind, type) and issubclass(kind, errors.ExportError)
    }
    assert len(documented) == 9
    assert {code: str(kinds[code]) for code in documented} == documented


def test_every_check_of_the_doctor_is_documented():
    page = (ROOT / "docs/doctor.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.split("## What doctor checks")[1], re.MULTILINE) == list(
        CHECKS
    )
