"""Configurations with a value that no key expects, as a file, as ``--set`` and as damaged text."""

import os
import re

import msgspec
import yaml

from exporting import storage, summary, write_config
from pipeline.commands.verify import verify
from pipeline.config.loading import load_config
from pipeline.errors import ConfigError, VerificationError
from stores import environment_of
from tests.fuzz.damage import damaged
from tests.fuzz.mutations import chance
from tests.fuzz.oracle import check_books, check_secrets
from tests.fuzz.values import places, spoiled
from tests.fuzz.world import CANARY, CaseError, impatient, told_by_command

_OTHERS = (
    "null", "~", "true", "no", "0", "-1", "1", "0x10", "0o17", "1e400", ".nan", "-.inf", "1_000", "12:30:45",
    "2024-02-30",
    "9" * 400, "''", "' '", "x", "a b", "[]", "{}", "[[]]", "[null]", "{a: 1}", "{'': 1}", "{1: 2}", "? [a]\n: b",
    "!!binary x",
    "!!python/name:os.system ''", "!!set {a}", "!unknown x", "&a [*a]", "*nobody", "'\\u0000'", '"\\0"',
    '"\\ud800"', '"\\e[2J"',
    '"\\u202eabc"', "'" + "x" * 5000 + "'", "[" * 200 + "]" * 200, "${HOME}", "${NOBODY_SET_THIS}", "${", "${}",
    "$${A}", "50%", "101%",
    "-1%", "0.1%", "1e3%", "nan%", "auto", "../x", "http://[", "coco", "{coco: {}}", "{coco: {no_such: 1}}",
    "{yolo: {task: x}}",
    "json:loads", "os:", ":x", "tests.nothing:Format", "[coco, coco]", "[1]", "file", "category", "memory://x",
    "s3://", "gs://",
)  # fmt: skip


def every_key(sandbox, path):
    """A configuration that has every key there is, but those that name a cluster or a storage."""
    return {
        "name": "fuzz", "description": "words", "target": "task",
        "filter": {"project": sandbox.project_id, "is_discarded": False, "id__in": None,
        "created__gt": "2020-01-01T00:00:00+09:00"},
        "path": str(path), "storage_options": {"auto_mkdir": True, "password": "${FUZZ_SECRET}"},
        "save_original_file": True,
        "formats": ["coco", {"yolo": {"task": "segment", "folder": "seg", "outlines": "bridge", "simplify": 1.0}},
        {"csv": {}}],
        "split": {"by": "hash", "ratios": {"train": 0.5, "val": 0.5}, "key": "record"},
        "classes": {"order": ["car", "bus"], "rename": {"van": "car"}, "drop": ["truck"], "drift": "append"},
        "skeletons": {"person": "coco_person_17", "arrow": {"points": ["a", "b"], "edges": [["a", "b"]], "flip": []}},
        "empty": "keep", "exif": "record", "masks": "instance", "naming": "id", "packaging": "files",
        "on_existing": "resume",
        "max_failures": "100%", "on_failed_annotation": "keep", "allow_empty": True, "extra_params": {"coco": {}},
        "run": {
            "executor": "serial", "workers": 2, "memory_mb": 64, "shard_size": 4, "page_size": 3, "requests": 8,
            "shard_timeout": 60, "file_hosts": ["127.0.0.1"], "largest_original_mb": 10, "keep_staging": False,
        },
    }  # fmt: skip


def configurations(lab, seed, folder):
    """A configuration with one value replaced or its text damaged: refused with its place, or exported."""
    dice = chance(seed, "configurations")
    world = lab.world("raw")
    world.proxy.use(None)
    values = every_key(world.sandbox, folder / "out")
    overrides = []
    path = write_config(folder, values)
    match dice.randrange(10):
        case 0 | 1:
            path.write_bytes(damaged(dice, path.read_bytes())[0])
        case 2 | 3:  # YAML reads JSON
            path.write_bytes(
                spoiled(dice, values, dice.choice([place for place in places(values) if place[0] != "path"]))[0]
            )
        case 4 | 5:
            place = dice.choice([place for place in places(values) if all(isinstance(part, str) for part in place)])
            overrides = [f"{'.'.join(place)}={dice.choice(_OTHERS)}"]
        case 6:
            words = (
                "",
                "=",
                "a",
                "=1",
                ".=1",
                "name",
                "run.=1",
                "run.workers",
                "formats.0=coco",
                "name.a=1",
                "x" * 5000 + "=1",
            )
            overrides = [dice.choice(words)]
        case _:
            path.write_text(_with_text(dice, values))
    with environment_of(world.environment()), impatient():
        before = set(os.environ)
        told = _load(path, overrides)
        if told is None or not _is_harmless(told, folder):
            command = told_by_command("plan", path, *_sets(overrides)) if told is None else None
            if command and command.code != 2:
                raise CaseError(f"load_config refuses it, but the exit code is {command.code}: {command.text}")
            check_secrets(world.secrets(), command.text if command else "", folder / "out")
            return "refused" if told is None else "loaded"
        run = told_by_command("run", path, *_sets(overrides))
        if set(os.environ) - before - {"TZ"}:
            raise CaseError(f"variables appeared: {set(os.environ) - before}")
    check_secrets(world.secrets(), run.text, folder / "out")
    if run.is_complete:
        _check(folder, told)
    return f"loaded, exit {run.code}"


def _with_text(dice, values):
    """The YAML of the values with the value of one key as somebody could have typed it."""
    found = [place for place in places(values) if place[0] != "path" and isinstance(place[-1], str)]
    place = dice.choice(found)
    target = values
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = "PLACE"
    return yaml.safe_dump(values).replace("PLACE", dice.choice(_OTHERS))


def _sets(overrides):
    return [part for override in overrides for part in ("--set", override)]


def _load(path, overrides):
    """The configuration, or None when it is refused as it should be."""
    try:
        return load_config(path, overrides)
    except ConfigError as error:
        lines = str(error).splitlines()
        if not lines or any(not re.match(rf"{re.escape(str(path))}(:\d+)?: \S|--set |\S", line) for line in lines):
            raise CaseError(f"refused without a place: {error}") from error
        if len(str(error)) > 6000:
            raise CaseError(f"refused with {len(str(error))} letters: {str(error)[:500]}") from error
        if CANARY in str(error) or "Traceback" in str(error):
            raise CaseError(f"refused with too much: {error}") from error
        if not overrides and not all(line.startswith(str(path)) for line in lines):
            raise CaseError(f"refused without the name of the file: {error}") from error
        return None


def _is_harmless(config, folder):
    """Whether a run of it stays in the folder of the case and in this process."""
    values = config.model_dump(mode="json")
    runs_here = config.run.executor == "serial" and config.storage is None and not config.classes.lock
    at_home = values["path"].startswith(str(folder / "out")) and ".." not in values["path"]
    return runs_here and at_home


def _check(folder, config):
    try:
        verify(storage(config.path), full=True)
    except VerificationError as error:
        raise CaseError(f"complete, but verify says: {error}") from error
    except msgspec.MsgspecError as error:
        raise CaseError(f"verify cannot read the export: {error}") from error
    check_books(summary(config.path))
