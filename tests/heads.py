"""A Ray head of its own on the loopback interface, with the dashboard that takes submitted jobs."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from exporting import environment

DASHBOARD = 8265  # the Synapse SDK talks to no other port
BIN = Path(sys.executable).parent
LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on the loopback interface only
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return 20_000 + free.getsockname()[1] % 10_000  # Ray's own workers listen below


class Head:
    """A head of two CPUs, stopped by its process id. ``home`` is the home directory of whoever submits to it."""

    def __init__(self, **variables):
        self.port, self.agent_port = _free_port(), _free_port()
        self.folder = tempfile.mkdtemp(prefix="head-")  # short: paths of Unix sockets are
        self.home = Path(tempfile.mkdtemp(prefix="home-"))
        self.variables = variables

    def __enter__(self):
        with socket.socket() as knock:
            taken = knock.connect_ex(("127.0.0.1", DASHBOARD)) == 0
        assert not taken, (
            f"port {DASHBOARD} is taken, and the Synapse SDK submits to no other one: stop what listens there"
        )
        self.log = (Path(self.folder) / "head.log").open("wb")
        self.process = subprocess.Popen(
            [
                BIN / "ray", "start", "--head", "--block", f"--port={self.port}", "--num-cpus=2",
                "--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD}", "--object-store-memory=100000000",
                f"--dashboard-agent-listen-port={self.agent_port}",  # another Ray of this machine has the usual one
                f"--temp-dir={self.folder}", "--disable-usage-stats",
            ],
            env=self.environment(), cwd=self.home, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not self._answers():
            ended = self.process.poll() is not None or time.monotonic() > deadline
            assert not ended, (Path(self.folder) / "head.log").read_text()[-3000:]
            time.sleep(0.2)
        return self

    def _answers(self):
        """Whether it takes jobs: the dashboard answers earlier than the agent that starts them."""
        request = urllib.request.Request(
            f"{self.url}/api/jobs/", b'{"entrypoint": "true"}', {"Content-Type": "application/json"}
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status == 200
        return False

    def __exit__(self, *_):
        processes = [psutil.Process(self.process.pid)]
        processes += processes[0].children(recursive=True)
        self.process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=30)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=30)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{DASHBOARD}"

    def environment(self, **more):
        """Of the head, and of a shell that submits to it: its own home, and this interpreter's programs first."""
        inherited = environment(HOME=str(self.home), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")
        for key in ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "COLUMNS"):
            inherited.pop(key, None)
        return {**inherited, **LOCAL, **self.variables, **more}

    def log_in(self, sandbox):
        """Write what ``synapse login`` and ``synapse agent select`` would have written."""
        folder = self.home / ".synapse"
        folder.mkdir(exist_ok=True)
        agent = {"id": 1, "name": "local", "url": "http://127.0.0.1:8899", "token": "unused"}
        told = {"host": sandbox.url, "access_token": sandbox.token, "agent": agent}
        (folder / "config.json").write_text(json.dumps(told))

    def run(self, program, *arguments, cwd, timeout=240, **variables):
        """Run ``ray`` or ``synapse`` as someone would in a shell; the finished process, its output as one text."""
        return subprocess.run(
            [BIN / program, *map(str, arguments)], env=self.environment(**variables), cwd=cwd, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def jobs(self):
        """What the head knows of all jobs that were submitted, by their ids."""
        with urllib.request.urlopen(f"{self.url}/api/jobs/", timeout=30) as answer:
            return {job["submission_id"]: job for job in json.load(answer) if job["submission_id"]}

    def logs(self, submission):
        """What a job has printed so far."""
        with urllib.request.urlopen(f"{self.url}/api/jobs/{submission}/logs", timeout=30) as answer:
            return json.load(answer)["logs"]

    def wait(self, submission, seconds=240):
        """Wait until a job has ended; returns its record."""
        deadline = time.monotonic() + seconds
        while (job := self.jobs()[submission])["status"] in ("PENDING", "RUNNING"):
            assert time.monotonic() < deadline, self.logs(submission)
            time.sleep(0.3)
        return job
