"""Helpers of the end-to-end tests: a configuration for the sandbox, a run in this process or as a command.

Where a helper takes a path, it also takes a :class:`stores.Place`: its storage options go into the configuration, and
the variables with its secrets into the environment.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import yaml

from digests import tree_digest
from pipeline.commands.verify import verify as verify_storage
from pipeline.config.loading import parse_config
from pipeline.run import run
from pipeline.storage import open_storage
from stores import Place, environment_of

ROOT = Path(__file__).parent.parent


def settings(sandbox, path, **overrides):
    """Values of a configuration that exports the sandbox's tasks to ``path``, serially unless told otherwise."""
    values = {
        "name": "test",
        "target": "task",
        "filter": {"project": sandbox.project_id},
        "path": str(path),
        "formats": ["coco", "yolo", "synapse_json"],
        "split": {"by": "hash"},
        "report": False,  # its pictures cost more than a small export; tests/report and tests/test_export.py have it
        "run": {"executor": "serial", "shard_size": 20},
    }
    if isinstance(path, Place):
        values["storage_options"] = dict(path.options)
    if overrides.get("target") == "ground_truth":
        values["filter"] = {"ground_truth_dataset_version": sandbox.version_id}
    for key, value in overrides.items():
        values[key] = {**values["run"], **value} if key == "run" else value
    return values


def export(sandbox, path, **overrides):
    """Run an export in this process; returns the result of :func:`pipeline.run.run`."""
    with environment_of({**sandbox.environment(), **variables(path)}):
        return run(parse_config(yaml.safe_dump(settings(sandbox, path, **overrides))))


def variables(path):
    """What the environment needs for a place; nothing for a path."""
    return dict(path.environment) if isinstance(path, Place) else {}


def write_config(folder, values):
    """Write values as a YAML file; returns its path."""
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def environment(sandbox=None, place=None, **more):
    """The environment of a command: this one's, without credentials of its own, with the sandbox's and the place's."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SYNAPSE_", "RAY_"))}
    return {**inherited, **(sandbox.environment() if sandbox else {}), **variables(place), **more}


def command(*arguments, env, timeout=120, cwd=ROOT):
    """Run ``python -m pipeline`` with arguments; returns the finished process, output as text."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def storage(path):
    """The storage at a path or place."""
    return path.storage() if isinstance(path, Place) else open_storage(str(path))


def digest(path):
    """The digest of an export's tree, from its files."""
    return path.digest() if isinstance(path, Place) else tree_digest(storage(path))


def verify(path, *, full=False):
    """Check an export as the command does; raises VerificationError."""
    return verify_storage(storage(path), full=full)


def undisturbed(sandbox, folders, **overrides):
    """The digest of an export that nothing happens to, in a folder of its own; for ``golden`` fixtures."""
    path = folders.mktemp("golden") / "export"
    export(sandbox, path, **overrides)
    return digest(path)


def missing_originals(path):
    """The paths of the images that the books of an export count as missing."""
    lines = map(msgspec.json.decode, storage(path).read("metadata/losses.jsonl").splitlines())
    missing = [line for line in lines if line["reason"] == "ORIGINAL_MISSING" and line["format"] == "originals"]
    assert len(missing) == summary(path)["originals"]["skipped"].get("ORIGINAL_MISSING", 0)
    assert all(line["outcome"] == "skipped" for line in missing)
    return {line["file"] for line in missing if line["file"].startswith("images/")}


def summary(path):
    """What ``export_summary.json`` says."""
    return msgspec.json.decode(storage(path).read("metadata/export_summary.json"))
