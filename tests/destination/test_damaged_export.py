"""A verdict or a list that is damaged on the disk: every command names one way out, and it works."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporting import command, environment, export, settings, verify, write_config
from pipeline.destination.existing import remove_export
from pipeline.destination.metadata import checksum_line, digest, file_line
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import open_storage

FAULT = Fault(route="payloads", kind="404", match="/payloads/00000004.json")
WAY_OUT = "is damaged; run the configuration with on_existing: overwrite"
FILES, VERDICT = "metadata/files.csv", "_SUCCESS.json"


def without_quote(data):
    lines = data.split(b"\n")
    lines[5] = b'"' + lines[5]
    return b"\n".join(lines)


def leading_out(data):
    lines = data.split(b"\n")
    lines[5] = b"../../" + lines[5]
    return b"\n".join(lines)


DAMAGES = {
    "truncated": (VERDICT, lambda data: data[: len(data) // 2]),
    "empty": (VERDICT, lambda _: b""),
    "NULs": (VERDICT, lambda data: bytes(len(data))),
    "no text": (VERDICT, lambda data: b'{"run_id": "\xff"}'),
}
LIST_DAMAGES = {
    "a line of NULs": lambda data: data[:200] + bytes(60) + data[260:],
    "no text": lambda data: data[:200] + b"\xff\xfe" + data[202:],
    "a quote too many": without_quote,
    "a path that leads out": leading_out,
    "cut": lambda data: data[: len(data) // 2],
    "cut at a line": lambda data: data[: data.index(b"\n", len(data) // 2) + 1],
    "empty": lambda _: b"",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=30, payload="presigned")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def published(sandbox, tmp_path_factory):
    """An export without a record that a retry would export, to be copied."""
    path = tmp_path_factory.mktemp("published") / "out"
    sandbox.set_faults([FAULT])
    export(sandbox, path, max_failures=1)
    sandbox.set_faults([])
    return path


@pytest.fixture
def copied(published, tmp_path):
    path = tmp_path / "out"
    shutil.copytree(published, path)
    (path / "mine.txt").write_text("not of the export")
    return path


def damage(path, name, change):
    file = path / name
    data = file.read_bytes()
    file.write_bytes(change(data))
    assert file.read_bytes() != data


def replaced(sandbox, path):
    """Take the way out, for an export of fewer files; every file of the old one is gone, and no other."""
    export(sandbox, path, formats=["coco"], on_existing="overwrite")
    assert (path / "mine.txt").read_text() == "not of the export"
    (path / "mine.txt").unlink()
    verify(path, full=True)


@pytest.mark.parametrize(("name", "change"), DAMAGES.values(), ids=DAMAGES)
def test_every_command_names_the_way_out_of_a_damaged_verdict_and_it_works(sandbox, copied, tmp_path, name, change):
    damage(copied, name, change)
    config = write_config(tmp_path, settings(sandbox, copied, max_failures=1))
    before = sorted(copied.rglob("*"))
    for arguments, code in (
        (("run", config), 2),
        (("retry-failed", config), 2),
        (("clean", copied), 2),
        (("verify", copied), 1),
    ):
        done = command(*arguments, env=environment(sandbox))
        assert (done.returncode, WAY_OUT in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr
    assert sorted(copied.rglob("*")) == before
    replaced(sandbox, copied)


@pytest.mark.parametrize("with_verdict", [True, False], ids=["verdict whole", "verdict damaged"])
@pytest.mark.parametrize("change", LIST_DAMAGES.values(), ids=LIST_DAMAGES)
def test_an_export_whose_list_is_damaged_is_replaced_to_the_last_file(sandbox, copied, change, with_verdict):
    damage(copied, FILES, change)
    if not with_verdict:
        damage(copied, VERDICT, lambda _: b"")
    replaced(sandbox, copied)


@pytest.mark.parametrize("name", ["a line of NULs", "cut at a line"])
def test_a_retry_does_not_rely_on_a_damaged_list(sandbox, copied, tmp_path, name):
    damage(copied, FILES, LIST_DAMAGES[name])
    config = write_config(tmp_path, settings(sandbox, copied, max_failures=1))
    done = command("retry-failed", config, env=environment(sandbox))
    assert (done.returncode, WAY_OUT in done.stderr) == (2, True), done.stderr
    assert (copied / VERDICT).exists()


def test_a_file_of_that_name_without_lists_is_nobodys_export(sandbox, tmp_path):
    (tmp_path / VERDICT).write_bytes(b"")
    (tmp_path / "mine.txt").write_bytes(b"")
    config = write_config(tmp_path, settings(sandbox, tmp_path, on_existing="overwrite"))
    done = command("run", config, env=environment(sandbox))
    assert (done.returncode, "use another path" in done.stderr) == (2, True)
    assert (tmp_path / "mine.txt").exists()


PATHS = [f"labels/{number}.txt" for number in range(8)]


@given(st.integers(0, 7), st.binary(max_size=40).filter(lambda data: b"\n" not in data), st.booleans())
def test_whatever_stands_in_one_line_all_listed_files_go_and_no_other(number, line, in_files):
    storage = open_storage("memory://damaged/export")
    for path in [*PATHS, "mine.txt"]:
        storage.write(path, b"x")
    listed = [file_line(path, 1, digest(b"x")) for path in PATHS]
    checked = [checksum_line(path, digest(b"x")) for path in PATHS]
    (listed if in_files else checked)[number] = line + b"\n"
    storage.write(FILES, b"path,bytes,sha256\n" + b"".join(listed))
    storage.write("metadata/SHA256SUMS", b"".join(checked))
    remove_export(storage)
    assert [path for path, _ in storage.files()] == ["mine.txt"]
