"""Names in a configuration mean the ids they are looked up to, and nothing else."""

import json

import pytest
import yaml

from exporting import command, environment, export, settings, write_config
from pipeline.commands.names import resolve_names
from pipeline.config import parse_config
from pipeline.errors import ConfigError
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.sandbox.resources import STORAGE


class Server:
    """Answers lists as the API does, from rows by address."""

    origin = "https://api.example"

    def __init__(self, **lists):
        self.lists = lists

    def answer(self, what, address, params=None):
        name = address.strip("/").rpartition("/")[2].replace("-", "_")
        assert name in self.lists, f"{what}: {address} {params}"
        return {"results": self.lists[name], "next": None}


def resolved(server, target="task", **values):
    given = {"name": "n", "target": target, "path": "/nowhere", "formats": ["coco"], "filter": {"project": 12}}
    return resolve_names(parse_config(yaml.safe_dump({**given, **values})), lambda: server)


TWO = Server(
    projects=[{"id": 1, "title": "Night"}, {"id": 2, "title": "Night"}, {"id": 3, "title": "night 2026"}],
    storages=[{"id": 7, "name": "a", "is_default": True}, {"id": 8, "name": "b", "is_default": True}],
)


def test_an_export_by_name_is_the_export_by_id(tidy, tmp_path):
    first = export(tidy, tmp_path / "out", filter={"project": 12}, formats=["coco"])
    again = export(tidy, tmp_path / "out", filter={"project": " dashcam 2026 "}, formats=["coco"])
    assert again.already_finished
    assert again.success == first.success
    assert first.success.export.values["filter"] == {"project": 12}


def test_a_ground_truth_dataset_and_its_version_by_name(tidy, tmp_path):
    by_id = {"ground_truth_dataset_version": tidy.version_id}
    first = export(tidy, tmp_path / "out", target="ground_truth", filter=by_id, formats=["coco"])
    listed = command("versions", "209", "--json", env=environment(tidy))
    name = next(row["version"] for row in json.loads(listed.stdout)["versions"] if row["id"] == tidy.version_id)
    named = {"ground_truth_dataset": "교차로 정답 🚦", "version": name}
    again = export(tidy, tmp_path / "out", target="ground_truth", filter=named, formats=["coco"])
    assert (again.already_finished, again.success) == (True, first.success)


def test_the_default_storage_is_the_one_the_api_calls_so(tmp_path):
    with Sandbox(SandboxOptions(records=6, storage_location=str(tmp_path))) as sandbox:
        by_name = export(sandbox, "exports/a", storage="default", formats=["coco"])
        by_id = export(sandbox, "exports/a", storage=STORAGE, formats=["coco"])
        config = write_config(tmp_path, settings(sandbox, "exports/a", storage="default"))
        told = command("verify", config, env=environment(sandbox))
    assert (by_id.already_finished, by_id.success) == (True, by_name.success)
    assert told.returncode == 0, told.stderr


def test_near_misses_are_named_when_nothing_has_the_name(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", filter={"project": "Dashcm 2026"}))
    done = command("run", config, env=environment(tidy))
    line = "error: filter.project: no project is called 'Dashcm 2026'; did you mean 12 ('Dashcam 2026')"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert not (tmp_path / "out").exists()
    command("run", config, "--set", "filter.project=Dashcam 2026", env=environment(tidy))
    assert (tmp_path / "out/_SUCCESS.json").exists()


def test_the_doctor_looks_names_up_too(tidy, tmp_path):
    def examined(project):
        config = write_config(tmp_path, settings(tidy, tmp_path / "out", filter={"project": project}))
        told = command("doctor", config, "--json", env=environment(tidy))
        return {one["name"]: one for one in json.loads(told.stdout)["checks"]}

    assert examined("Dashcam 2026")["project"]["finding"].startswith("Dashcam 2026")
    wrong = examined("Dashcm 2026")
    assert "did you mean 12" in wrong["project"]["fix"]
    assert (wrong["configuration"]["state"], wrong["storage"]["state"]) == ("ok", "ok")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"filter": {"project": "Night"}},
            ["filter.project: is not unique: 2 have", "1 ('Night'), 2 ('Night')", "give the id"],
        ),
        ({"filter": {"project": "zzz"}}, ["no project is called 'zzz'", "`projects`"]),
        ({"storage": "default"}, ["storage: ", "several (7, 8)", "give the id"]),
        ({"storage": "bb"}, ["no storage is called 'bb'", "8 ('b')"]),
    ],
)
def test_what_is_not_one_thing_is_refused(values, words):
    with pytest.raises(ConfigError) as refused:
        resolved(TWO, **values)
    for word in words:
        assert word in str(refused.value)


def test_a_name_that_is_exactly_so_wins_over_one_in_another_case():
    server = Server(projects=[{"id": 1, "title": "Night"}, {"id": 2, "title": "NIGHT"}])
    assert resolved(server, filter={"project": "NIGHT"}).filter == {"project": 2}


def test_a_platform_without_a_default_storage_says_what_to_do():
    with pytest.raises(ConfigError, match="of none that it lists; give the id of one: `storages`"):
        resolved(Server(storages=[{"id": 7, "name": "a", "is_default": False}]), storage="default")


DATASETS = {
    "ground_truth_datasets": [{"id": 5, "name": "Crossings"}],
    "ground_truth_dataset_versions": [
        {"id": 51, "version": "1.0", "ground_truth_dataset": 5, "is_archived": True},
        {"id": 52, "version": "1.10", "ground_truth_dataset": 5},
    ],
}


@pytest.mark.parametrize(
    ("chosen", "version"),
    [
        ({"ground_truth_dataset": "crossings"}, 52),
        ({"ground_truth_dataset": 5}, 52),
        ({"ground_truth_dataset": "Crossings", "version": "1.0"}, 51),
        ({"ground_truth_dataset": "5", "version": "1.10", "category": "train"}, 52),
    ],
)
def test_versions_of_a_dataset(chosen, version):
    found = resolved(Server(**DATASETS), target="ground_truth", filter=chosen).filter
    rest = {"category": chosen["category"]} if "category" in chosen else {}
    assert found == {"ground_truth_dataset_version": version, **rest}


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"ground_truth_dataset": "Crossing"}, "did you mean 5 \\('Crossings'\\)"),
        ({"ground_truth_dataset": 5, "version": 1.1}, "in quotes"),
        ({"ground_truth_dataset": 5, "version": "1.1"}, "did you mean"),
        ({"ground_truth_dataset": 5, "ground_truth_dataset_version": 51}, "give one of them"),
    ],
)
def test_versions_that_are_not_one(chosen, words):
    with pytest.raises(ConfigError, match=words):
        resolved(Server(**DATASETS), target="ground_truth", filter=chosen)


def test_several_versions_are_refused_with_their_ids():
    rows = [{"id": i, "version": f"{i}.0", "ground_truth_dataset": 5} for i in (51, 52)]
    with pytest.raises(ConfigError, match=r"has 2 versions: 51 \('51.0'\), 52 \('52.0'\); name one"):
        resolved(Server(ground_truth_dataset_versions=rows), target="ground_truth", filter={"ground_truth_dataset": 5})


def test_ids_ask_nothing():
    config = resolved(None, storage="11", filter={"project": "12"})
    assert (config.storage, config.filter) == (11, {"project": "12"})
