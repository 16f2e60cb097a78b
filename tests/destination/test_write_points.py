"""Every write of an export fails once: the next run ends with the same bytes, and nothing half was ever to be seen."""

import errno
import threading

import pytest

from exporting import digest, export, storage, verify
from pipeline.destination import metadata
from pipeline.errors import ExportError
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import STAGING, local

FORMATS = ["yolo", {"voc": {}}]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="tidy", records=4)) as sandbox:
        yield sandbox


def small(sandbox, path, **overrides):
    return export(sandbox, path, **{"formats": FORMATS, "run": {"shard_size": 2}, **overrides})


def attempt(sandbox, path, **overrides):
    """The error that ended a run, or None when it came to its end."""
    try:
        small(sandbox, path, **overrides)
    except ExportError as problem:
        return problem
    return None


@pytest.fixture(scope="module")
def golden(sandbox, tmp_path_factory):
    """The digest of an undisturbed export, and the bytes of its files by path."""
    path = tmp_path_factory.mktemp("golden") / "out"
    small(sandbox, path)
    return digest(path), {name: (path / name).read_bytes() for name, _ in storage(path).files()}


def check_nothing_is_half(path, golden):
    """What stands under a final name is what will stand there, or (with times in it) is whole JSON."""
    found = storage(path)
    for name, _ in found.files():
        if name.startswith(f"{STAGING}/"):
            continue
        assert name in golden[1], name
        if name not in metadata.VOLATILE and name != metadata.CHECKSUMS:
            assert found.read(name) == golden[1][name], name
    found.close()


class Point:
    """Counts calls of a function of ``os`` and fails one of them; or counts only."""

    def __init__(self, monkeypatch, name, error):
        self._real, self._error = getattr(local.os, name), error
        self.fails, self.seen = 0, 0
        self._one_at_a_time = threading.Lock()
        monkeypatch.setattr(local.os, name, self)

    def __call__(self, *arguments, **options):
        with self._one_at_a_time:
            self.seen += 1
            fails = self.seen == self.fails
        if fails:
            raise OSError(self._error, "told to by a test")
        return self._real(*arguments, **options)

    def arm(self, number):
        self.fails, self.seen = number, 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error"),
    [("replace", errno.EIO), ("write", errno.ENOSPC), ("fsync", errno.EIO), ("unlink", errno.EACCES)],
)
def test_every_write_to_a_disk_fails_once(sandbox, golden, tmp_path, monkeypatch, name, error):
    point = Point(monkeypatch, name, error)
    small(sandbox, tmp_path / "counted")
    calls = point.seen
    assert calls > 10
    failed = 0
    for number in range(1, calls + 1):
        path = tmp_path / str(number)
        point.arm(number)
        problem = attempt(sandbox, path)
        failed += problem is not None
        check_nothing_is_half(path, golden)
        point.arm(0)
        small(sandbox, path)
        assert digest(path) == golden[0], number
        verify(path, full=True)
        assert not (path / STAGING).exists(), number
    # What tidies up may fail without harm; any other call that fails stops the run.
    assert failed > calls / 2 or name == "unlink"


@pytest.mark.slow
def test_a_store_that_goes_away_at_any_write_is_gone_on_with(sandbox, s3_server, proxy):
    """From the i-th write on everything is refused; then the store is back. For every i of a small export."""
    tiny = two_records(sandbox)
    counted = s3_server.place(endpoint=proxy.url)
    small(sandbox, counted, **tiny)
    writes = len(proxy.writes())
    expected = digest(counted)
    names = {name: counted.storage().read(name) for name, _ in counted.storage().files()}
    for number in range(1, writes + 1):
        place = s3_server.place(endpoint=proxy.url)
        proxy.fault("403", first=number, count=None)
        problem = attempt(sandbox, place, **tiny)
        assert problem is None or "do not allow this" in str(problem)
        proxy.heal()
        check_nothing_is_half(place, (expected, names))
        small(sandbox, place, **tiny)
        assert digest(place) == expected, number
        assert place.storage().entries(STAGING) == [], number
        assert s3_server.uploads(place.key) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["500", "503", "refuse", "lose"])
def test_single_faults_of_a_store_do_not_change_a_byte(sandbox, s3_server, proxy, kind):
    """Every fourth write fails, or its answer is lost, in four runs that begin one later each: every write once."""
    undisturbed = s3_server.place()
    small(sandbox, undisturbed, **two_records(sandbox))
    expected = digest(undisturbed)
    for start in range(1, 5):
        place = s3_server.place(endpoint=proxy.url)
        proxy.heal()
        faults = [proxy.fault(kind, first=number) for number in range(start, 400, 4)]
        small(sandbox, place, **two_records(sandbox))
        assert sum(fault.reached.is_set() for fault in faults) > 5
        proxy.heal()
        assert digest(place) == expected
        assert s3_server.uploads(place.key) == []


def two_records(sandbox):
    """What makes an export of few writes, for tests that run it once for each of them."""
    ids = sorted(record.key for record in sandbox.truth("task"))[:2]
    return {"formats": ["yolo"], "filter": {"project": sandbox.project_id, "id__in": ids}}
