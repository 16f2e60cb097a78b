"""Staged files that are damaged, gone or another's before a run is continued."""

import shutil

from exporting import digest
from pipeline.storage import local
from tests.fuzz.damage import damaged
from tests.fuzz.mutations import chance
from tests.fuzz.oracle import check_secrets
from tests.fuzz.world import CaseError, fresh

FORMATS = ["coco", "csv", "yolo", "parquet"]
_STATES = 14
_SIZES = {"shard_size": 2, "keep_staging": True}


class _Killed(BaseException):
    """The end of a run that nothing handles, in place of a signal that would end this process too."""


def staged(lab, seed, folder):
    """A run that was stopped at a write, or that lost its verdict; then staged files are damaged; then it goes on."""
    dice = chance(seed, "staged")
    world = lab.world("mixed")
    world.proxy.use(None)
    golden, states = _prepared(lab, world)
    number = dice.randrange(len(states))
    shutil.copytree(states[number], folder / "out", symlinks=True)
    files = sorted(path for path in (folder / "out/_staging").rglob("*") if path.is_file())
    done = [_damage(dice, files) for _ in range(dice.choice((1, 1, 1, 2, 5)))] if files else []
    told = world.export(
        world.values(folder / "out", formats=FORMATS, run={**_SIZES, "keep_staging": dice.random() < 0.5}),
        by_command=dice.random() < 0.2, folder=folder,
    )  # fmt: skip
    check_secrets(world.secrets(), told.text, folder)
    if not told.is_complete:
        if (folder / "out/_SUCCESS.json").exists():
            raise CaseError(f"published, but the exit code is {told.code}: {told.text}")
        if "run the same command again" not in told.text and "overwrite" not in told.text:
            raise CaseError(f"nothing says what to do after state {number} and {done}: {told.text}")
        again = _export(world, folder / "out")
        if not again.is_complete:
            raise CaseError(f"the same command does not continue after state {number} and {done}: {again.text}")
    if digest(folder / "out") != golden:
        raise CaseError(f"the bytes are others after state {number} and {done}")
    return "complete" if told.is_complete else f"exit {told.code} then complete"


def _damage(dice, files):
    """One or two files become others; returns what was done."""
    file = dice.choice(files)
    other = dice.choice([one for one in files if one.parent == file.parent])
    if not file.exists():
        return f"{file.name} is gone already"
    match dice.randrange(6):
        case 0:
            file.unlink()
            return f"removed {file.name}"
        case 1 if other.exists():
            one, two = file.read_bytes(), other.read_bytes()
            file.write_bytes(two)
            other.write_bytes(one)
            return f"swapped {file.name} and {other.name}"
        case 2 if other.exists():
            file.write_bytes(other.read_bytes())
            return f"{file.name} became {other.name}"
        case _:
            data, way = damaged(dice, file.read_bytes())
            file.write_bytes(data)
            return f"{way} {file.name}"


def _prepared(lab, world):
    """The digest of an undisturbed export, and folders with exports that were stopped at different writes."""
    if not hasattr(lab, "staged"):
        home = fresh(lab.folder / "staged")
        told = _export(world, home / "golden")
        if not told.is_complete:
            raise CaseError(f"the undisturbed export failed: {told.text}")
        writes = _stop(world, home / "all", None)
        states = []
        for number in range(_STATES):
            folder = home / f"stopped-{number}"
            _stop(world, folder, 2 + (writes - 3) * number // (_STATES - 1))
            states.append(folder)
        (home / "all/_SUCCESS.json").unlink()
        lab.staged = digest(home / "golden"), [*states, home / "all"]
    return lab.staged


def _export(world, out):
    return world.export(world.values(out, formats=FORMATS, run=_SIZES), by_command=False, folder=out.parent)


def _stop(world, out, at):
    """Export until the ``at``-th write is in place; returns how many there were."""
    real = local.os.replace
    count = 0

    def replace(source, target):
        nonlocal count
        real(source, target)
        if "/_staging/status/" in str(target):  # by a thread of its own, at times that nobody can repeat
            return
        count += 1
        if count == at:
            raise _Killed

    local.os.replace = replace
    try:
        _export(world, out)
    except _Killed:
        pass
    finally:
        local.os.replace = real
    return count
