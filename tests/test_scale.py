"""Ten thousand records: the memory of a worker depends on the shard, not on the export."""

import json
import subprocess
import sys

import pytest

from exporting import ROOT, digest, environment, settings, write_config

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

# Runs an export and says what its own process and the largest of its children peaked at, in kilobytes.
MEASURE = """
import json, resource, sys, threading, time, psutil
from pipeline.cli import main
peaks, stop = {}, threading.Event()
def watch():
    me = psutil.Process()
    while not stop.wait(0.1):
        for child in me.children(recursive=True):
            try:
                if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::"):
                    peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_info().rss // 1024)
            except psutil.Error:
                continue
thread = threading.Thread(target=watch)
thread.start()
code = main(["run", sys.argv[1]])
stop.set()
thread.join()
driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"code": code, "driver": driver, "worker": max(peaks.values(), default=0)}))
"""


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory):
    """Sandboxes in processes of their own, so that only the exporter's memory is measured."""
    folder = tmp_path_factory.mktemp("sandboxes")
    processes, found = [], {}
    for records in (2_000, 10_000):
        ready = folder / f"{records}.json"
        arguments = ["--profile", "bench", "--records", str(records), "--ready-file", ready]
        processes.append(
            subprocess.Popen([sys.executable, "-m", "pipeline.sandbox", *arguments], stdout=subprocess.DEVNULL)
        )
        found[records] = ready
    try:
        yield found
    finally:
        for process in processes:
            process.terminate()
            process.wait()


class Served:
    """The connection a sandbox process wrote, in the shape the helpers expect."""

    def __init__(self, ready):
        import time  # noqa: PLC0415

        deadline = time.monotonic() + 120
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        told = json.loads(ready.read_text())
        self.project_id = told["project"]
        self._environment = {"SYNAPSE_HOST": told["url"], "SYNAPSE_ACCESS_TOKEN": told["token"]}

    def environment(self):
        return self._environment


def peak(sandbox, folder, executor):
    values = settings(
        sandbox, folder / "out", formats=["coco", "yolo"], save_original_file=False,
        run={"executor": executor, "shard_size": 500, "workers": 2},
    )  # fmt: skip
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, write_config(folder, values)], env=environment(sandbox), cwd=ROOT,
        capture_output=True, text=True, timeout=280, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    return told


@pytest.mark.parametrize("executor", ["serial", pytest.param("ray", marks=pytest.mark.ray)])
def test_memory_does_not_grow_with_the_number_of_records(sandboxes, tmp_path, executor):
    small = peak(Served(sandboxes[2_000]), tmp_path / "small", executor)
    large = peak(Served(sandboxes[10_000]), tmp_path / "large", executor)
    assert large["driver"] <= 1.3 * small["driver"]
    assert large["worker"] <= 1.3 * small["worker"]
    assert len(list((tmp_path / "large/out/labels").rglob("*.txt"))) == 10_000
    if executor == "serial":
        return
    peak(Served(sandboxes[10_000]), tmp_path / "serial", "serial")
    assert digest(tmp_path / "serial/out") == digest(tmp_path / "large/out")
