"""The helpers of tests that write to object stores: the servers are real, places behave alike, the proxy is exact."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import s3fs

from exporting import digest
from pipeline.errors import StorageError
from stores import BUCKET, READER, Key


def test_a_place_is_read_back_as_files(place, tmp_path):
    storage = place.child("deep").storage()
    storage.write("a/b.txt", b"one")
    assert (place.local(tmp_path) / "deep/a/b.txt").read_bytes() == b"one"
    assert place.child("deep").local(tmp_path).joinpath("a/b.txt").read_bytes() == b"one"


def test_equal_trees_have_equal_digests_wherever_they_are(place, tmp_path):
    place.storage().write("x/y", b"1")
    assert place.digest() == digest(place.local(tmp_path)) == digest(place)
    before = place.digest()
    place.storage().write("x/z", b"2")
    assert place.digest() != before


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="without xdist there is one worker")
def test_tests_of_one_server_share_a_worker(request, s3_server):
    assert request.node.nodeid.endswith("@s3")


def test_the_s3_server_refuses_wrong_secrets_and_writes_of_readers(s3_server):
    place = s3_server.place()
    place.storage().write("x", b"1")
    name = place.url.rpartition("/")[2]
    for key in (READER, Key("nobody", "canary"), Key("test-full-access", "canary-wrong")):
        with pytest.raises(StorageError):
            s3_server.place(name, key=key).storage().write("x", b"2")
    assert s3_server.place(name, key=READER).storage().read("x") == b"1"


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from stores import GcsServer, S3Server
with {}() as server:
    print(server.folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("server", ["S3Server", "GcsServer"])
def test_a_server_ends_with_the_process_that_started_it(server):
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(server), *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        folder = process.stdout.readline().strip()
        assert os.path.isdir(folder)
        process.send_signal(signal.SIGKILL)
    gives_up = time.monotonic() + 60
    while os.path.exists(folder) and time.monotonic() < gives_up:
        time.sleep(0.05)
    assert not os.path.exists(folder)  # removed after the server has ended


@pytest.fixture
def behind(proxy):
    """A file system behind the proxy that does not try twice, for a pair of keys."""
    with contextlib.ExitStack() as stack:

        def connect(key=None, attempts=1):
            key = key or proxy.issue(3600)
            fs = s3fs.S3FileSystem(
                key=key.access, secret=key.secret, endpoint_url=proxy.url, use_listings_cache=False,
                skip_instance_cache=True, config_kwargs={"retries": {"total_max_attempts": attempts}},
            )  # fmt: skip
            fs.retries = 1
            stack.callback(s3fs.S3FileSystem.close_session, fs.loop, fs.s3)
            return fs

        yield connect


def test_the_proxy_passes_everything_on_unchanged(behind, proxy, s3_server):
    fs, root = behind(), f"{BUCKET}/proxy-plain"
    name = f"{root}/a b/é+%20?&=.txt"
    big = os.urandom(12 * 2**20)
    fs.pipe_file(name, b"one")
    fs.pipe_file(f"{root}/empty", b"")
    with fs.open(f"{root}/big", "wb", block_size=5 * 2**20) as file:
        file.write(big)
    fs.copy(f"{root}/big", f"{root}/copy")
    assert fs.cat_file(name) == b"one"
    assert fs.cat_file(f"{root}/big", start=5, end=2**20) == big[5 : 2**20]
    assert fs.info(f"{root}/copy")["size"] == len(big)
    assert fs.cat_file(f"{root}/copy") == big
    assert s3_server.keys("proxy-plain/") == {
        "proxy-plain/a b/é+%20?&=.txt": 3, "proxy-plain/empty": 0, "proxy-plain/big": len(big),
        "proxy-plain/copy": len(big),
    }  # fmt: skip
    fs.rm(root, recursive=True)
    assert s3_server.keys("proxy-plain/") == {}
    logged = [entry for entry in proxy.entries() if entry.path == f"/{name}" and entry.method == "PUT"]
    assert [(entry.key, entry.status, entry.size, entry.passed) for entry in logged] == [("k000", 200, 3, True)]
    assert {entry.method for entry in proxy.writes()} == {"PUT", "POST"}
    with pytest.raises(FileNotFoundError):
        fs.cat_file(name)


def test_issued_keys_end_and_others_do_not(behind, proxy):
    old, new = proxy.issue(3600), proxy.issue(3600)
    path = f"{BUCKET}/proxy-expiry/x"
    behind(old).pipe_file(path, b"1")
    proxy.expire(old)
    with pytest.raises(OSError, match="token has expired"):
        behind(old).pipe_file(path, b"2")
    with pytest.raises(OSError, match="token has expired"):
        behind(proxy.issue(0)).pipe_file(path, b"2")
    assert behind(new).cat_file(path) == b"1"
    refused = [entry for entry in proxy.entries() if entry.status == 400]
    assert [(entry.key, entry.passed) for entry in refused] == [("k000", False), ("k002", False)]
    proxy.expire()
    with pytest.raises(OSError, match=r"token has expired|Bad Request"):
        behind(new).cat_file(path)


@pytest.mark.parametrize("kind", ["500", "503"])
def test_the_request_a_test_names_fails_once(behind, proxy, s3_server, kind):
    fs, root = behind(), f"{BUCKET}/proxy-{kind}"
    fault = proxy.fault(kind, first=2)
    fs.pipe_file(f"{root}/1", b"1")
    with pytest.raises(OSError, match="by a test"):
        fs.pipe_file(f"{root}/2", b"2")
    fault.wait()
    assert list(s3_server.keys(f"proxy-{kind}/")) == [f"proxy-{kind}/1"]
    fs.pipe_file(f"{root}/2", b"2")
    fs.pipe_file(f"{root}/3", b"3")
    assert fault.seen == 4
    assert [entry.fault for entry in proxy.writes()] == ["", kind, "", ""]
    assert [entry.passed for entry in proxy.writes()] == [True, False, True, True]


@pytest.mark.parametrize(("kind", "arrives"), [("refuse", False), ("lose", True)])
def test_an_answer_can_be_lost_after_or_instead_of_the_work(behind, proxy, s3_server, kind, arrives):
    fs, path = behind(), f"{BUCKET}/proxy-{kind}/x"
    proxy.fault(kind, count=None)  # once is not enough: aiohttp sends a PUT again by itself
    with pytest.raises(Exception, match=r"closed|reset|disconnected|Disconnected"):
        fs.pipe_file(path, b"1")
    assert bool(s3_server.keys(f"proxy-{kind}/")) == arrives
    assert {(entry.status, entry.passed) for entry in proxy.writes()} == {(0, arrives)}


def test_a_client_that_tries_again_does_not_notice_a_failure(behind, proxy):
    fs, path = behind(attempts=3), f"{BUCKET}/proxy-again/x"
    for kind in ("503", "refuse", "lose"):
        proxy.fault(kind, count=1)
        fs.pipe_file(path, kind.encode())
        assert fs.cat_file(path) == kind.encode()
        proxy.heal()


def test_failures_without_a_count_last_until_they_are_healed(behind, proxy):
    fs, path = behind(), f"{BUCKET}/proxy-heal/x"
    proxy.fault("500", count=None, matches=lambda entry: entry.path.endswith("/x") and entry.is_write)
    for _ in range(3):
        with pytest.raises(OSError, match="test"):
            fs.pipe_file(path, b"1")
    fs.pipe_file(f"{path}y", b"1")
    proxy.heal()
    fs.pipe_file(path, b"1")


WRITER = """
import sys, s3fs
key, secret, endpoint, path = sys.argv[1:]
fs = s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=endpoint)
with fs.open(path, "wb", block_size=5 * 2**20) as file:
    for _ in range(12):
        file.write(bytes(2**20))
"""


@pytest.mark.parametrize("kind", ["hold", "hold-answer"])
def test_a_writer_can_be_killed_while_its_request_is_held(proxy, s3_server, kind):
    """The last request of a multipart upload: before it nothing is visible, after it everything is."""
    prefix = f"proxy-{kind}/"
    fault = proxy.fault(kind, matches=lambda entry: entry.method == "POST" and "uploadId" in entry.query)
    key = proxy.issue(3600)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, key.access, key.secret, proxy.url, f"{BUCKET}/{prefix}big"]
    ) as process:
        fault.wait()
        process.kill()
    completed = kind == "hold-answer"
    assert s3_server.keys(prefix) == ({f"{prefix}big": 12 * 2**20} if completed else {})
    assert [key for key, _ in s3_server.uploads(prefix)] == ([] if completed else [f"{prefix}big"])
