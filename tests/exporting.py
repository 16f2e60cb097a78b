"""Helpers of the end-to-end tests: a configuration for the sandbox, a run in this process or as a command."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import yaml

from pipeline.config import parse_config
from pipeline.run import run
from pipeline.storage import open_storage
from pipeline.verify import tree_digest

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
        "run": {"executor": "serial", "shard_size": 20},
    }
    if overrides.get("target") == "ground_truth":
        values["filter"] = {"ground_truth_dataset_version": sandbox.version_id}
    for key, value in overrides.items():
        values[key] = {**values["run"], **value} if key == "run" else value
    return values


def export(sandbox, path, **overrides):
    """Run an export in this process; returns the result of :func:`pipeline.run.run`."""
    before = {key: os.environ.get(key) for key in sandbox.environment()}
    os.environ.update(sandbox.environment())
    try:
        return run(parse_config(yaml.safe_dump(settings(sandbox, path, **overrides))))
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def write_config(folder, values):
    """Write values as a YAML file; returns its path."""
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def environment(sandbox=None, **more):
    """The environment of a command: this one's, without credentials of its own, with the sandbox's."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SYNAPSE_", "RAY_"))}
    return {**inherited, **(sandbox.environment() if sandbox else {}), **more}


def command(*arguments, env, timeout=120, cwd=ROOT):
    """Run ``python -m pipeline`` with arguments; returns the finished process, output as text."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def digest(path):
    """The digest of an export's tree, from its files."""
    return tree_digest(open_storage(str(path)))


def summary(path):
    """What ``export_summary.json`` says."""
    return msgspec.json.decode((Path(path) / "metadata/export_summary.json").read_bytes())
