"""The API that chaos exports from: the sandbox as a process of its own, with faults on."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_POLL_SECONDS = 0.01

# By URL and number of the request, not by order of arrival: the same requests fail in every run.
FAULTS = (
    "pages:503:rate=0.03:each:times=2", "pages:429:rate=0.03:each:times=1", "payloads:503:rate=0.015:each:times=1",
    "payloads:reset:rate=0.01:each:times=1", "payloads:cut:rate=0.01:each:times=1",
    "payloads:403:rate=0.015:each:times=1", "originals:503:rate=0.01:each:times=1",
    "originals:cut:rate=0.01:each:times=1",
)  # fmt: skip


class ChaosError(Exception):
    """The tool cannot go on: a run did not end in time, or could not be hit."""


class Api:
    """The sandbox, as a process of its own."""

    def __init__(self, folder: Path, records: int) -> None:
        ready = folder / "ready.json"
        command = [
            sys.executable, "-m", "pipeline", "sandbox", "--profile", "tidy", "--records", str(records),
            "--payload", "presigned", "--url-ttl", "3", "--blob-latency", "0.005", "--page-latency", "0.02",
            "--ready-file", str(ready),
        ]  # fmt: skip
        self.process = subprocess.Popen(command, cwd=ROOT, env=plain_environment(), stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, 60, "the sandbox to start")
            told = json.loads(ready.read_text())
        except BaseException:
            self.close()
            raise
        self._url, self.project = told["url"], told["project"]
        self.environment = {"SYNAPSE_HOST": told["url"], "SYNAPSE_ACCESS_TOKEN": told["token"]}

    def begin(self) -> None:
        """Forget the requests so far, and which faults have happened."""
        self._ask("clear", {})
        self._ask("faults", {"faults": FAULTS})

    def requests(self) -> int:
        """Listing and payload requests since :meth:`begin`."""
        log = self._ask("log")
        return sum(entry["path"].startswith(("/sdk/", "/blobs/payloads/")) for entry in log)

    def _ask(self, action: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/__sandbox__/{action}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def wait_until(condition: Any, seconds: float, what: str) -> None:
    """Look again and again. Raises ChaosError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ChaosError(f"waited {seconds:.0f} s for {what}")
        time.sleep(_POLL_SECONDS)


def plain_environment() -> dict[str, str]:
    """The variables of this process without credentials or a cluster of its own."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SYNAPSE_", "RAY_"))}
