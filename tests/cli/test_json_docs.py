"""What docs/json.md says of the output for programs is what the commands print."""

import json
import re

import jsonschema
import pytest
import typer.main

from exporting import ROOT, command, environment, export, settings, write_config
from pipeline import errors
from pipeline.cli import app as command_line
from pipeline.cli.app import app
from pipeline.commands.doctor import CHECKS

PAGE = (ROOT / "docs/json.md").read_text()
SCHEMAS = {
    schema["title"]: schema
    for schema in map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
}
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
    ("diff", ["diff", "EXPORT", "CONFIG"]),
    ("error", ["classes", "14"]),
    ("error", ["projects", "--bogus"]),
    ("error", ["doctor", "--check", "bogus"]),
]


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
    (line,) = done.stdout.splitlines()
    jsonschema.validate(json.loads(line), SCHEMAS[name], cls=jsonschema.Draft202012Validator)
    assert (done.returncode == 2) is (name == "error")
    assert done.stderr == ""


def test_the_findings_of_a_configuration_are_as_documented(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, "/proc/export"))
    done = command("doctor", config, "--json", env=environment(tidy))
    told = json.loads(done.stdout)
    jsonschema.validate(told, SCHEMAS["doctor"], cls=jsonschema.Draft202012Validator)
    for check in told["checks"]:
        assert bool(check["fix"]) is (check["state"] in ("warning", "error")), check
    assert (told["ready"], done.returncode) == (False, 1)


def test_every_command_with_json_is_documented_and_tried():
    with_json = {
        name
        for name, found in typer.main.get_command(app).commands.items()
        if any("--json" in parameter.opts for parameter in found.params)
    }
    assert with_json == {title.split()[0] for title in SCHEMAS} - {"error"}
    assert {name for name, _ in CALLS} == set(SCHEMAS)
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
    assert len(documented) == 8
    assert {code: str(kinds[code]) for code in documented} == documented


def test_every_check_of_the_doctor_is_documented():
    page = (ROOT / "docs/doctor.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.split("## What doctor checks")[1], re.MULTILINE) == list(
        CHECKS
    )
