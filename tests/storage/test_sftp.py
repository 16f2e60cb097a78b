"""What SFTP has of its own: a connection, which can be lost. The suites of storage and of exports run there, too."""

import asyncio
import gc
import threading

import pytest

from exporting import command, digest, environment, export, settings, undisturbed, write_config
from pipeline.errors import DestinationError
from pipeline.sandbox import Sandbox, SandboxOptions
from stores import SftpServer, close_storages


@pytest.fixture
def server():
    """A server of one's own: what is done to it is nobody else's trouble."""
    with SftpServer() as server:
        yield server


def test_a_lost_connection_is_made_anew(server):
    storage = server.place().storage()
    storage.write("a", b"1")
    for work, answer in (
        (lambda: storage.read("a"), b"1"),
        (lambda: storage.read_range("a", 0, 1), b"1"),
        (lambda: storage.size("a"), 1),
        (lambda: list(storage.find_many(["a", "b"])), [b"1", None]),
        (lambda: storage.create_new("a", b"2"), False),
        (lambda: storage.write("a", b"2"), None),
    ):
        server.cut()
        assert work() == answer
    assert storage.read("a") == b"2"


def test_a_closed_storage_leaves_nothing_for_other_event_loops(server):
    storage = server.place().storage()
    storage.write("a", b"1")
    close_storages()
    del storage

    async def collect() -> int:
        gc.collect()  # the finalizer of sshfs uses whatever loop runs now
        await asyncio.wait_for(asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()})), 10)
        return len(asyncio.all_tasks())

    assert asyncio.run(collect()) == 1


def test_a_closed_storage_can_be_used_again(server):
    storage = server.place().storage()
    storage.write("a", b"1")
    storage.close()
    assert storage.read("a") == b"1"


@pytest.mark.slow
def test_connections_that_are_lost_on_the_way_do_not_change_a_byte(server, tmp_path_factory):
    with Sandbox(SandboxOptions(profile="tidy", records=40, blob_latency=0.1)) as sandbox:
        golden = undisturbed(sandbox, tmp_path_factory)
        over = threading.Event()

        def cut_now_and_then():
            while not over.wait(0.7):
                server.cut()

        place = server.place()
        thread = threading.Thread(target=cut_now_and_then)
        thread.start()
        try:
            export(sandbox, place, run={"requests": 4, "shard_size": 10})
        finally:
            over.set()
            thread.join()
    assert len(server.connections) > 3
    assert digest(place) == golden


def test_who_is_not_let_in_is_told_in_a_line(server, tidy, tmp_path):
    place = server.place()
    config = write_config(tmp_path, settings(tidy, place))
    done = command("run", config, env={**environment(tidy), "TEST_SFTP_PASSWORD": "another"})
    assert done.returncode == 2
    assert "the server refuses this user; check username, and password or key" in done.stderr
    assert "another" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_that_is_not_there_is_told(server):
    place = server.place()
    server.stop()
    with pytest.raises(DestinationError, match="cannot be reached; check its address"):
        place.storage()
