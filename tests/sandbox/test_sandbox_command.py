"""The sandbox as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import requests

from pipeline.errors import ExportError
from pipeline.sandbox import Sandbox, SandboxOptions


@contextmanager
def process(tmp_path, *arguments):
    ready = tmp_path / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pipeline.sandbox", "--ready-file", str(ready), *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": ""})
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert running.poll() is None, "the sandbox ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield running, json.loads(ready.read_text())
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        running.stdout.close()


def page(connection):
    headers = {"Synapse-Access-Token": f"Token {connection['token']}"}
    answer = requests.get(f"{connection['url']}/sdk/tasks/?project=12", headers=headers, timeout=10)
    return answer.json()


def test_it_announces_itself_and_ends_well_on_sigterm(tmp_path):
    with process(tmp_path, "--records", "5", "--storage-location", str(tmp_path / "storage")) as (running, connection):
        assert connection == {
            "url": connection["url"],
            "token": connection["token"],
            "project": 12,
            "ground_truth_dataset_version": 99,
            "storage": 11,
        }
        assert page(connection)["count"] == 5
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=10)
    assert running.returncode == 0
    assert f"export SYNAPSE_HOST={connection['url']}" in output.splitlines()
    assert f"export SYNAPSE_ACCESS_TOKEN={connection['token']}" in output.splitlines()
    assert (tmp_path / "storage").is_dir()


def test_after_a_kill_the_same_options_serve_the_same(tmp_path):
    with process(tmp_path, "--records", "5", "--profile", "nasty", "--kinds", "v2_document") as (_, first):
        before = page(first)
    port = first["url"].rpartition(":")[2]
    with process(tmp_path, "--records", "5", "--profile", "nasty", "--kinds", "v2_document", "--port", port) as (
        _,
        second,
    ):
        assert second == first
        assert page(second) == before


def test_a_port_in_use_is_an_error_that_says_so(tidy):
    with pytest.raises(ExportError, match="could not start"):
        Sandbox(SandboxOptions(records=1, port=int(tidy.url.rpartition(":")[2]))).start()


def test_the_temporary_storage_is_removed_and_a_given_one_is_kept(tmp_path):
    with Sandbox(SandboxOptions(records=1)) as temporary:
        assert temporary.storage_location.is_dir()
    assert not temporary.storage_location.exists()
    with Sandbox(SandboxOptions(records=1, storage_location=str(tmp_path / "kept"))):
        pass
    assert (tmp_path / "kept").is_dir()
