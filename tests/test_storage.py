"""One suite for every kind of storage: complete files only, below the root only."""

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DestinationError, StorageError
from pipeline.storage import check_relative, open_storage


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    return open_storage(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")


def test_what_is_written_is_read_back(storage):
    storage.write("a/b.txt", b"one")
    storage.write("a/b.txt", b"two", durable=True)
    assert storage.read("a/b.txt") == storage.find("a/b.txt") == b"two"
    assert storage.size("a/b.txt") == 3
    assert storage.read_range("a/b.txt", 1, 1) == b"w"


def test_what_is_not_there_is_none(storage):
    assert storage.find("nothing") is None
    assert storage.size("nothing") is None
    assert list(storage.find_many(["nothing", "nothing/else"])) == [None, None]
    assert storage.entries() == []
    assert list(storage.files()) == []
    with pytest.raises(FileNotFoundError):
        storage.read("nothing")


def test_many_files_are_found_in_order(storage):
    storage.write_many((f"d{n % 7}/{n}", str(n).encode()) for n in range(600))
    found = list(storage.find_many([f"d{n % 7}/{n}" for n in range(601)]))
    assert found == [*(str(n).encode() for n in range(600)), None]
    assert len(list(storage.files())) == 600
    assert min(storage.files("d1")) == ("d1/1", 1)


def test_copies_are_complete_and_replace_what_was_there(storage):
    storage.write("a", b"one")
    storage.write("b/b", b"old")
    storage.copy_many([("a", "b/b"), ("a", "c/d/e")])
    storage.copy_many([("a", "b/b")])
    assert storage.read("b/b") == storage.read("c/d/e") == storage.read("a") == b"one"
    assert sorted(storage.files()) == [("a", 3), ("b/b", 3), ("c/d/e", 3)]
    storage.write("a", b"two")
    assert storage.read("b/b") == b"one"


def test_a_copy_of_what_is_not_there_is_an_error(storage):
    with pytest.raises(FileNotFoundError):
        storage.copy_many([("nothing", "a")])
    assert list(storage.files()) == []


def test_a_disk_without_hard_links_copies_the_bytes(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    storage = open_storage(str(tmp_path))
    storage.write("a", b"one")
    storage.copy_many([("a", "b")])
    assert storage.read("b") == b"one"
    assert not (tmp_path / "a").samefile(tmp_path / "b")


def test_a_stream_appears_only_on_a_clean_exit(storage):
    with storage.create("big/file") as file:
        file.write(b"x" * 1000)
        assert storage.size("big/file") is None
    assert storage.size("big/file") == 1000


def test_a_stream_that_fails_leaves_nothing(storage):
    with pytest.raises(RuntimeError), storage.create("big/file") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(storage.files()) == []


def test_a_stream_that_fails_keeps_what_was_there(storage):
    storage.write("big/file", b"old")
    with pytest.raises(RuntimeError), storage.create("big/file") as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.read("big/file") == b"old"


def test_chunks_are_the_bytes(storage):
    storage.write("f", b"0123456789")
    assert b"".join(storage.chunks("f")) == b"0123456789"
    assert b"".join(storage.chunks("f", 3, 4)) == b"3456"
    assert b"".join(storage.chunks("f", 3, 0)) == b""
    with pytest.raises(StorageError, match="shorter than expected"):
        list(storage.chunks("f", 5, 10))


def test_deleting_is_exact_and_tidy(storage):
    storage.write("a/x", b"1")
    storage.write("a/y", b"2")
    storage.write("b/z", b"3")
    storage.delete(["a/x", "b/z", "b/missing"])
    assert [path for path, _ in storage.files()] == ["a/y"]
    storage.delete_tree("a")
    storage.delete_tree("nothing")
    assert list(storage.files()) == []


def test_a_folder_that_was_removed_is_made_again(storage):
    storage.write("a/x", b"1")
    storage.delete(["a/x"])
    storage.write("a/x", b"2")
    assert storage.read("a/x") == b"2"


def test_the_probe_leaves_nothing(storage):
    storage.probe()
    assert list(storage.files()) == []
    assert storage.entries() == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0b", ".", ".."])
def test_a_path_outside_the_root_is_refused(storage, path):
    with pytest.raises(StorageError, match="not a path below the export"):
        storage.write(path, b"")


@given(st.text(max_size=30))
def test_a_path_that_is_accepted_stays_inside(path):
    try:
        check_relative(path)
    except StorageError:
        return
    assert os.path.normpath(f"/base/{path}").startswith("/base/")


def test_a_local_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="cannot write there"):
        open_storage(str(tmp_path / "file")).probe()


def test_a_root_that_cannot_be_made_is_refused():
    with pytest.raises(DestinationError, match="cannot write there"):
        open_storage("/proc/no/such").probe()


def test_the_probe_removes_the_folders_it_made(tmp_path):
    open_storage(str(tmp_path / "a" / "b")).probe()
    assert not (tmp_path / "a" / "b").exists()


def test_a_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "label.txt").symlink_to(victim)
    open_storage(str(tmp_path / "out")).write("label.txt", b"new")
    assert victim.read_text() == "untouched"


def test_file_urls_are_local(tmp_path):
    open_storage(f"file://{tmp_path}/out").write("x", b"1")
    assert (tmp_path / "out" / "x").read_bytes() == b"1"


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(DestinationError, match=r"^nope://bucket: cannot open this storage"):
        open_storage("nope://bucket?signature=canary")


def test_sync_flushes_a_real_disk(tmp_path):
    storage = open_storage(str(tmp_path))
    storage.write("x", b"1")
    storage.sync()
    with pytest.raises(FileNotFoundError):
        open_storage(str(tmp_path / "nothing")).sync()
