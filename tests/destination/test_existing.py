"""What is at the path already: replaced exactly, cleaned exactly, and never more than an export's own lists name."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from exporting import ROOT, command, digest, environment, export, settings, storage, verify, write_config
from pipeline import load_config, run
from pipeline.commands.clean import clean
from pipeline.destination.lock import hold_lock
from pipeline.errors import DestinationError, StorageError
from pipeline.progress import Silence
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import local
from stores import environment_of

OTHER = {"formats": ["coco"], "naming": "id", "split": "none", "save_original_file": False}


def names(path):
    return {name for name, _ in storage(path).files()}


def kill(sandbox, tmp_path, moment, count, **overrides):
    """An export that was killed right after that write."""
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", **overrides))
    arguments = [sys.executable, ROOT / "tests/killer.py", "after", moment, str(count), "run", config]
    killed = subprocess.run(arguments, env=environment(sandbox), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


MOMENTS = [
    ("images/", 25),  # originals of a shard that has no marker yet
    ("labels/", 7),
    ("annotations/instances_train.json", 1),  # a manifest that has no marker yet
    ("metadata/files.csv", 1),
]


@pytest.mark.parametrize(("moment", "count"), MOMENTS, ids=[moment for moment, _ in MOMENTS])
def test_another_export_replaces_an_unfinished_one_to_the_last_file(tidy, tmp_path, moment, count):
    export(tidy, tmp_path / "golden", **OTHER)
    kill(tidy, tmp_path, moment, count)
    (tmp_path / "out/notes.txt").write_text("mine")
    (tmp_path / "out/images/train/mine.jpg").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out/images/train/mine.jpg").write_text("mine")
    with pytest.raises(DestinationError, match="an unfinished export that differs in"):
        export(tidy, tmp_path / "out", **OTHER)
    export(tidy, tmp_path / "out", **OTHER, on_existing="overwrite")
    assert names(tmp_path / "out") == names(tmp_path / "golden") | {"notes.txt", "images/train/mine.jpg"}
    for mine in ("notes.txt", "images/train/mine.jpg"):
        (tmp_path / "out" / mine).unlink()
    verify(tmp_path / "out", full=True)
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")


def test_an_export_replaces_a_finished_one_in_every_store(tidy, place, tmp_path):
    export(tidy, tmp_path / "golden", **OTHER)
    export(tidy, place)
    storage(place).write("notes.txt", b"mine")
    export(tidy, place, **OTHER, on_existing="overwrite")
    assert names(place) == names(tmp_path / "golden") | {"notes.txt"}
    storage(place).delete(["notes.txt"])
    assert digest(place) == digest(tmp_path / "golden")


@pytest.mark.parametrize("number", [1, 2, 30, 150])
def test_a_replacement_that_stops_while_it_removes_is_gone_on_with(tidy, tmp_path, monkeypatch, number):
    export(tidy, tmp_path / "golden", **OTHER)
    export(tidy, tmp_path / "out")
    real, seen = os.unlink, 0

    def fails_from_then_on(path, **options):
        nonlocal seen
        seen += f"{tmp_path}/out/" in str(path) and "_staging" not in str(path)
        if seen >= number:
            raise PermissionError(errno.EACCES, "told to by a test")
        real(path, **options)

    monkeypatch.setattr(local.os, "unlink", fails_from_then_on)
    with pytest.raises(StorageError):
        export(tidy, tmp_path / "out", **OTHER, on_existing="overwrite")
    monkeypatch.undo()
    if number > 1:
        assert not (tmp_path / "out/_SUCCESS.json").exists()
        with pytest.raises(DestinationError, match="what is left of an export that was being removed"):
            export(tidy, tmp_path / "out", **OTHER)
    export(tidy, tmp_path / "out", **OTHER, on_existing="overwrite")
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")
    verify(tmp_path / "out", full=True)


@pytest.mark.parametrize(("moment", "count"), MOMENTS, ids=[moment for moment, _ in MOMENTS])
def test_clean_takes_an_unfinished_export_away_and_nothing_else(tidy, tmp_path, moment, count):
    kill(tidy, tmp_path, moment, count)
    (tmp_path / "out/notes.txt").write_text("mine")
    done = command("clean", tmp_path / "out", env=environment())
    assert done.returncode == 0, done.stderr
    assert "files of an unfinished export, staged work" in done.stdout
    assert names(tmp_path / "out") == {"notes.txt"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["notes.txt"]


def test_clean_leaves_a_finished_export_as_it_is(tidy, place):
    export(tidy, place, run={"keep_staging": True})
    before = digest(place)
    found = clean(storage(place))
    assert (found.finished, found.files, found.staging, found.uploads) == (True, 0, True, 0)
    assert digest(place) == before
    verify(place, full=True)
    assert storage(place).entries("_staging") == []
    again = clean(storage(place))
    assert (again.files, again.staging) == (0, False)


def test_clean_leaves_what_is_no_export_as_it_is(place):
    storage(place).write("metadata/SHA256SUMS", b"of somebody else")
    found = clean(storage(place))
    assert (found.finished, found.files, found.staging) == (False, 0, False)
    assert names(place) == {"metadata/SHA256SUMS"}


def test_clean_waits_for_a_run_that_may_be_at_work(tidy, tmp_path):
    export(tidy, tmp_path / "out", run={"keep_staging": True})
    with hold_lock(storage(tmp_path / "out"), "at-work"):
        done = command("clean", tmp_path / "out", env=environment())
        assert done.returncode == 5
        assert "is held by run at-work" in done.stderr
        assert command("clean", tmp_path / "out", "--break-lock", env=environment()).returncode == 0


def test_a_configuration_stands_for_its_path(tidy, s3_server, tmp_path):
    place = s3_server.place()
    config = write_config(tmp_path, settings(tidy, place))
    env = environment(tidy, place)
    told = command("run", config, env=env).stdout
    assert f"next: {told.split('next: ')[1].split(' verify ')[0]} verify {config} --full" in told
    folder = place.url.rpartition("/")[2]
    assert f"aws s3 sync {place.url} {folder}" in told
    assert f"data={folder}/data.yaml" in told
    assert "complete: " in command("verify", config, "--full", env=env).stdout
    assert "nothing to remove" in command("clean", config, env=env).stdout


@pytest.fixture
def disk(tmp_path):
    """``disk(megabytes)`` mounts a disk of that size, or makes it that large; its folder is given back."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        options = f"size={size}m" + (",remount" if os.path.ismount(folder) else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("only root can mount a disk")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(disk, tmp_path):
    folder = disk(2)
    with Sandbox(SandboxOptions(profile="bench", records=2000)) as sandbox:
        values = settings(sandbox, folder / "out", save_original_file=False)
        done = command("run", write_config(tmp_path, values), env=environment(sandbox))
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert re.search(
            r"has 2 MB free, and 2,000 records will take about \d\d MB \(estimated from the newest 100", line
        )
        assert "make room, or use another path" in line
        assert list(folder.iterdir()) == []
        disk(200)
        assert command("run", write_config(tmp_path, values), env=environment(sandbox)).returncode == 0


def test_a_disk_that_becomes_full_is_one_line_and_gone_on_with(tidy, disk, tmp_path):
    export(tidy, tmp_path / "golden")
    size = sum(size for _, size in storage(tmp_path / "golden").files()) // 2**20
    folder = disk(size * 4 + 10)
    config = write_config(tmp_path, settings(tidy, folder / "out"))

    class OthersFillIt(Silence):
        """After the free space was looked at."""

        def finish(self, tally):
            if tally.stage == "plan":
                disk(max(1, size // 2))

    with environment_of(tidy.environment()), pytest.raises(StorageError) as caught:
        run(load_config(config), listener=OthersFillIt())
    assert str(caught.value).endswith("the disk is full; make room and run the same command again")
    assert not (folder / "out/_SUCCESS.json").exists()
    disk(size * 4 + 10)
    again = command("run", config, env=environment(tidy))
    assert again.returncode == 0, again.stderr
    assert digest(folder / "out") == digest(tmp_path / "golden")


def test_a_disk_that_cannot_be_written_is_refused_before_work(tidy, disk, tmp_path):
    folder = disk(10)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    done = command("run", write_config(tmp_path, settings(tidy, folder / "out")), env=environment(tidy))
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    planned = command("plan", tmp_path / "config.yaml", env=environment(tidy))
    assert planned.returncode == 2
    assert f"a run would end with exit code 2: {folder}/out: cannot write there: Read-only" in planned.stdout
    shutil.rmtree(folder, ignore_errors=True)
