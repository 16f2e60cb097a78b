"""One suite for every kind of storage: complete files only, below the root only."""

import hashlib
import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from pipeline.destination.lock import Lock
from pipeline.errors import DestinationError, StorageError
from pipeline.storage import Extent, check_relative, open_storage
from pipeline.storage.multipart import MIB, lay_out, length_of
from stores import STORES, empty_place


class Disk(LocalFileSystem):
    """A file system that shows files while they are being written, like sftp and smb, and is no object store."""

    protocol = "disk"


fsspec.register_implementation("disk", Disk)


@pytest.fixture(params=["memory", "disk", *STORES])
def storage(request, tmp_path):
    if request.param == "memory":
        storage = open_storage(f"memory://{uuid.uuid4().hex}/out")
    elif request.param == "disk":
        storage = open_storage(f"disk://{tmp_path}/disk")
    else:
        storage = empty_place(request, request.param, tmp_path).storage()
    yield storage
    storage.close()


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


def test_of_several_writers_of_a_new_file_exactly_one_wins(storage):
    assert storage.create_new("locks/a", b"one")
    assert not storage.create_new("locks/a", b"two")
    assert storage.read("locks/a") == b"one"
    check_one_of_eight_wins(storage, "locks/b")


def check_one_of_eight_wins(storage, path):
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda number: storage.create_new(path, str(number).encode()), range(8)))
    assert won.count(True) == 1
    assert storage.read(path) == str(won.index(True)).encode()


@pytest.mark.parametrize("kind", ["", "disk://"])
def test_of_many_races_for_a_new_file_none_has_two_winners(tmp_path, kind):
    """Looking first and writing then loses about one race of five here."""
    storage = open_storage(f"{kind}{tmp_path}/raced")
    for number in range(40):
        check_one_of_eight_wins(storage, f"locks/{number}")


def test_of_several_writers_one_wins_where_looking_first_is_all_there_is(tmp_path, monkeypatch):
    """A file system that cannot be asked for a new file only: a run that comes later is told apart all the same."""
    storage = open_storage(f"disk://{tmp_path}/disk")
    opened = LocalFileSystem._open

    def without_exclusion(self, path, mode="rb", **options):
        if "x" in mode:
            raise ValueError(mode)
        return opened(self, path, mode, **options)

    monkeypatch.setattr(LocalFileSystem, "_open", without_exclusion)
    assert storage.create_new("locks/a", b"one")
    assert not storage.create_new("locks/a", b"two")
    assert storage.read("locks/a") == b"one"


@pytest.mark.parametrize("size", [0, 10, 5 * MIB + 1, 12 * MIB, 30 * MIB])
def test_files_are_joined_from_bytes_and_ranges(storage, size):
    packs = [random.Random(number).randbytes(size) for number in range(3)]
    for number, pack in enumerate(packs):
        storage.write(f"packs/{number}", b"head" + pack + b"tail")
    pieces = [
        b"[",
        b"",
        Extent("packs/0", 4, size),
        b",",
        Extent("packs/1", 0, size + 4),
        Extent("packs/2", 4, size),
        b"]",
    ]
    expected = b"[" + packs[0] + b"," + b"head" + packs[1] + packs[2] + b"]"
    assert storage.join("joined/file", pieces) == (len(expected), hashlib.sha256(expected).hexdigest())
    assert storage.read("joined/file") == expected
    assert storage.abort_uploads() == 0
    storage.delete_tree("packs")
    assert [path for path, _ in storage.files()] == ["joined/file"]


def test_a_join_of_something_that_is_too_short_leaves_nothing(storage):
    storage.write("pack", bytes(20 * MIB))
    with pytest.raises(StorageError, match="shorter than expected"):
        storage.join("joined", [b"x" * (6 * MIB), Extent("pack", MIB, 20 * MIB), b"y"])
    assert storage.size("joined") is None
    assert storage.abort_uploads() == 0
    assert [path for path, _ in storage.files()] == ["pack"]


def test_a_long_stream_is_sent_in_parts_and_whole(storage):
    data = random.Random(7).randbytes(21 * MIB)
    with storage.create("films/a.mp4") as file:
        for start in range(0, len(data), 3 * MIB):
            file.write(data[start : start + 3 * MIB])
        assert storage.size("films/a.mp4") is None
    assert storage.read("films/a.mp4") == data
    assert b"".join(storage.chunks("films/a.mp4")) == data
    with pytest.raises(RuntimeError), storage.create("films/b.mp4") as file:
        file.write(data)
        raise RuntimeError
    assert [path for path, _ in storage.files()] == ["films/a.mp4"]
    assert storage.abort_uploads() == 0


@pytest.mark.parametrize("name", ["img[1].jpg", "100%.jpg", "도로 사진.jpg", "a+b&c=d#e.jpg", "q?x=1.jpg", "*.jpg"])
def test_names_mean_themselves(storage, name):
    storage.write_many([(f"a/{name}", b"1"), ("a/other.jpg", b"2")])
    storage.copy_many([(f"a/{name}", f"b/{name}")])
    assert storage.read(f"b/{name}") == b"1"
    assert list(storage.find_many([f"a/{name}", f"c/{name}"])) == [b"1", None]
    assert sorted(storage.files()) == sorted([(f"a/{name}", 1), ("a/other.jpg", 1), (f"b/{name}", 1)])
    storage.delete([f"a/{name}"])
    assert sorted(storage.files()) == sorted([("a/other.jpg", 1), (f"b/{name}", 1)])


@given(
    st.lists(st.one_of(st.integers(0, 40), st.tuples(st.integers(0, 5), st.integers(0, 400))), max_size=40),
    st.integers(1, 50),
)
def test_the_parts_of_a_file_are_its_bytes_and_no_part_is_too_short(lengths, least):
    pieces = [
        bytes(item) if isinstance(item, int) else Extent(f"f{number}", *item) for number, item in enumerate(lengths)
    ]
    parts = list(lay_out(pieces, least, sent=3 * least, copied=4 * least))

    def flat(pieces):
        return [
            byte
            for piece in pieces
            for byte in (
                [0] * len(piece)
                if isinstance(piece, bytes)
                else [(piece.path, n) for n in range(piece.start, piece.start + piece.length)]
            )
        ]

    assert flat(piece for part in parts for piece in part.pieces) == flat(pieces)
    assert all(part.length >= least for part in parts[:-1])
    for part in parts:
        if part.copied:
            assert least <= part.length <= 4 * least
            assert len(part.pieces) == 1
            assert isinstance(part.pieces[0], Extent)
        else:
            assert part.length < 3 * least + 2 * least + 40


@given(st.lists(st.integers(0, 10**10), max_size=60), st.integers(0, 60))
def test_a_file_of_any_size_has_no_more_parts_than_a_store_takes(lengths, singles):
    pieces = [Extent(f"f{number}", 0, length) for number, length in enumerate(lengths)] + [b"x"] * singles
    total = sum(map(length_of, pieces))
    assert sum(1 for _ in lay_out(pieces, max(5 * MIB, total // 9000 + 1))) <= 10_000


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


MISSING_MD5 = "<Error><Code>MissingContentMD5</Code><Message>Missing required header: Content-Md5</Message></Error>"
NO_UPLOADS = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"


def test_a_store_that_wants_an_md5_to_delete_many_is_asked_one_by_one(s3_server, proxy):
    """As MinIO before 2025 does (boto/boto3#4392)."""
    proxy.answer(400, MISSING_MD5, matches=lambda entry: "delete" in entry.query)
    storage = s3_server.place(endpoint=proxy.url).storage()
    storage.write_many((f"a/{number}", b"x") for number in range(20))
    storage.delete(f"a/{number}" for number in range(19))
    assert [path for path, _ in storage.files()] == ["a/19"]


def test_uploads_are_found_in_a_store_that_lists_them_without_prefixes_only(s3_server, proxy):
    """As MinIO does (minio/minio#20989)."""
    proxy.answer(200, NO_UPLOADS, matches=lambda entry: "uploads" in entry.query and entry.query.get("prefix"))
    place = s3_server.place(endpoint=proxy.url)
    storage, other = place.storage(), s3_server.place().storage()
    uploads = [storage._begin("a/b"), other._begin("a/b")]
    assert storage.abort_uploads() == 1
    assert storage.abort_uploads() == 0
    assert other.abort_uploads() == 1
    for upload in uploads:
        upload.abort()


def test_a_store_that_cannot_copy_ranges_is_sent_them(s3_server, proxy):
    proxy.answer(
        501,
        "<Error><Code>NotImplemented</Code><Message>no</Message></Error>",
        matches=lambda entry: "partNumber" in entry.query and entry.size == 0,
    )
    storage = s3_server.place(endpoint=proxy.url).storage()
    data = random.Random(1).randbytes(20 * MIB)
    storage.write("pack", data)
    storage.join("joined", [b"[", Extent("pack", 0, len(data)), b"]"])
    assert storage.read("joined") == b"[" + data + b"]"


def test_a_store_without_exclusive_creation_is_told_from_one_with_it(s3_server, proxy, monkeypatch):
    """A store that ignores If-None-Match would let two runs in; the lock notices that it does."""
    storage = s3_server.place(endpoint=proxy.url).storage()
    lock = Lock(storage, "first")
    lock.acquire()
    assert lock.is_exclusive()
    monkeypatch.setattr(storage, "create_new", lambda path, data: storage.write(path, data) is None)
    assert not lock.is_exclusive()
    lock.check()
    lock.release()
    assert list(storage.files()) == []
