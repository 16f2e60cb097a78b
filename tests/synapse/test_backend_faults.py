"""The API and the object store at their worst, end to end: the same bytes, or an exact list of what is missing."""

import csv
import json
import threading
import time

import pytest
import yaml

from exporting import command, digest, environment, export, settings, storage, summary, undisturbed, write_config
from pipeline.config.loading import parse_config
from pipeline.errors import AccessRefused, FailureLimitError
from pipeline.model.backoff import Backoff
from pipeline.progress import Silence
from pipeline.run import run
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.synapse.http import transport
from pipeline.synapse.http.tries import RequestLimits
from stores import environment_of

ROUTES = ("pages", "payloads", "originals")
FEW = 20
PASSING = ("429", "500", "502", "503", "504", "520", "524", "reset", "cut", "html", "badjson", "empty")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The package's waits, a fiftieth as long."""
    quick = RequestLimits(
        Backoff(6, first=0.01, longest=0.4, jitter=0.5, longest_retry_after=0.4), idle=1.2, attempt=1.5, deadline=18
    )
    monkeypatch.setattr(transport, "RequestLimits", lambda: quick)


@pytest.fixture(scope="module")
def golden(tidy, tmp_path_factory):
    """The digest of an undisturbed export."""
    return undisturbed(tidy, tmp_path_factory)


@pytest.fixture(scope="module")
def golden_few(tmp_path_factory):
    """The same of :data:`FEW` records."""
    with tidy_sandbox(records=FEW) as sandbox:
        return undisturbed(sandbox, tmp_path_factory)


def tidy_sandbox(records=60, **options):
    return Sandbox(SandboxOptions(profile="tidy", records=records, payload="presigned", **options))


class WhenExtracting(Silence):
    """A listener that does something between the plan and the first document."""

    def __init__(self, action):
        self._action = action

    def update(self, tally):
        if tally.stage == "extract" and self._action:
            self._action()
            self._action = None


def exported_ids(path):
    rows = csv.DictReader(storage(path).read("metadata/records.csv").decode().splitlines())
    return [int(row["record_id"]) for row in rows]


def failures(path):
    return [json.loads(line) for line in storage(path).read("metadata/failures.jsonl").splitlines()]


@pytest.mark.parametrize("kind", PASSING)
def test_every_request_fails_once_and_not_a_byte_changes(golden_few, tmp_path, kind):
    # Half a picture that comes as a whole file cannot be told where the API gives neither size nor checksum.
    routes = ROUTES[:2] if kind == "badjson" else ROUTES
    faults = [Fault(route=route, kind=kind, times=1, each=True, value=0.05) for route in routes]
    with tidy_sandbox(records=FEW, faults=tuple(faults)) as sandbox:
        export(sandbox, tmp_path / "out", run={"page_size": 4})
        entries = [entry["path"] for entry in sandbox.requests() if entry["fault"]]
    documents = sum(path.startswith("/blobs/payloads/") for path in entries)
    assert sum(path.startswith("/sdk/") for path in entries) >= 5
    assert documents == FEW
    assert sum(path.startswith("/blobs/") for path in entries) - documents == (0 if kind == "badjson" else FEW)
    assert digest(tmp_path / "out") == golden_few


@pytest.mark.parametrize(("kind", "value"), [("drip", 0.1), ("hang", None)])
def test_an_answer_that_does_not_end_is_given_up_and_asked_for_again(golden, tmp_path, kind, value):
    faults = [Fault(route=route, kind=kind, at=(2,), value=value) for route in ROUTES]
    with tidy_sandbox(faults=tuple(faults)) as sandbox:
        export(sandbox, tmp_path / "out", run={"page_size": 10})
        # A byte every tenth of a second would take minutes, and no single read would ever be late.
        assert [entry["status"] for entry in sandbox.requests() if entry["fault"]] == [0, 0, 0]
    assert digest(tmp_path / "out") == golden


def test_where_only_a_few_requests_are_served_at_once_few_are_refused(golden, tmp_path):
    with tidy_sandbox(max_concurrency=3, page_latency=0.02) as sandbox:
        export(sandbox, tmp_path / "out", run={"page_size": 1, "requests": 16, "shard_size": 60})
        pages = [entry for entry in sandbox.requests() if entry["path"].startswith("/sdk/")]
    refused = sum(entry["status"] == 429 for entry in pages)
    assert 0 < refused < len(pages) / 2
    assert digest(tmp_path / "out") == golden


@pytest.mark.parametrize("kind", ["duplicate_row", "missing_row", "foreign_row", "wrong_count"])
def test_pages_that_lie_about_their_rows_change_nothing(golden, tmp_path, kind):
    rule = Fault(route="pages", kind=kind, match="response_mode", at=(2, 5))
    with tidy_sandbox(faults=(rule,)) as sandbox:
        export(sandbox, tmp_path / "out", run={"page_size": 10})
        assert [entry for entry in sandbox.requests() if entry["fault"] == kind]
    assert digest(tmp_path / "out") == golden


def test_a_damaged_document_is_told_by_its_digest_and_fetched_again(golden, tmp_path):
    with tidy_sandbox(faults=(Fault(route="payloads", kind="corrupt", times=1, each=True),)) as sandbox:
        export(sandbox, tmp_path / "out")
        assert len([entry for entry in sandbox.requests() if entry["fault"]]) == 60
    assert digest(tmp_path / "out") == golden


def test_rows_that_vanish_after_the_plan_are_listed_and_new_ones_are_left_out(tmp_path):
    with tidy_sandbox() as sandbox:
        planned = [truth.key for truth in sandbox.truth("task")]
        gone = planned[5:40:5]

        listener = WhenExtracting(lambda: (sandbox.delete_records("task", gone), sandbox.add_records("task", 7)))
        values = settings(sandbox, tmp_path / "out", run={"page_size": 10})
        with environment_of(sandbox.environment()):
            run(parse_config(yaml.safe_dump(values)), listener=listener)
    assert [failure["record_id"] for failure in failures(tmp_path / "out")] == gone
    assert {failure["reason"] for failure in failures(tmp_path / "out")} == {"RECORD_VANISHED"}
    assert exported_ids(tmp_path / "out") == [key for key in planned if key not in gone]


def test_rows_that_are_labelled_anew_after_the_plan_are_exported_as_they_are_then(tmp_path):
    """Each record once, in one state of it; the picture and everybody else as ever."""
    with tidy_sandbox() as sandbox:
        planned = [truth.key for truth in sandbox.truth("task")]
        listener = WhenExtracting(lambda: sandbox.change_records("task", planned[3:50:4]))
        values = settings(sandbox, tmp_path / "out", run={"page_size": 10})
        with environment_of(sandbox.environment()):
            run(parse_config(yaml.safe_dump(values)), listener=listener)
        export(sandbox, tmp_path / "after", run={"page_size": 10})
        annotations = sum(len(truth.annotations) for truth in sandbox.truth("task"))
    assert failures(tmp_path / "out") == []
    assert exported_ids(tmp_path / "out") == planned
    assert digest(tmp_path / "out") == digest(tmp_path / "after")
    assert summary(tmp_path / "out")["annotations"]["written"] == annotations


@pytest.mark.parametrize("route", ["payloads", "originals"])
def test_what_stays_broken_is_exactly_what_is_listed_and_heals(golden, tmp_path, route):
    with tidy_sandbox() as sandbox:
        export(sandbox, tmp_path / "first")
        blobs = {entry["path"] for entry in sandbox.requests() if entry["path"].startswith("/blobs/")}
        paths = sorted(path for path in blobs if path.startswith("/blobs/payloads/") is (route == "payloads"))
        broken = paths[::20]
        for status in ("500", "404"):
            sandbox.set_faults([Fault(route=route, kind=status, match=path) for path in broken])
            with pytest.raises(FailureLimitError) as caught:
                export(sandbox, tmp_path / status)
            assert caught.value.exit_code == 3
            assert "_SUCCESS.json" not in dict(storage(tmp_path / status).files())
            # Published when that many may fail: with all others, and with the list of those that are missing.
            export(sandbox, tmp_path / status, max_failures=len(broken))
            told = summary(tmp_path / status)
            listed = [failure for failure in failures(tmp_path / status) if failure["outcome"] == "failed"]
            assert told["failed_records"] == len(broken) == len({failure["record_id"] for failure in listed})
            if route == "payloads":
                missing = set(exported_ids(tmp_path / "first")) - set(exported_ids(tmp_path / status))
                assert missing == {failure["record_id"] for failure in listed}
        # Trouble that passes is tried again by the same command.
        sandbox.set_faults([Fault(route=route, kind="503", match=path) for path in broken])
        with pytest.raises(FailureLimitError):
            export(sandbox, tmp_path / "healed")
        sandbox.set_faults([])
        export(sandbox, tmp_path / "healed")
    assert digest(tmp_path / "healed") == golden


def revoke_after(sandbox, number):
    """Revoke the token once that many documents' pages were asked for; returns the thread that does."""

    def watch():
        end = time.monotonic() + 100
        while time.monotonic() < end:
            if sum("response_mode" in entry["query"] for entry in sandbox.requests()) >= number:
                break
            time.sleep(0.005)
        sandbox.revoke_token()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def refused(sandbox):
    return [entry for entry in sandbox.requests() if entry["status"] == 401]


def test_a_revoked_token_stops_the_run_at_once_and_a_new_one_continues_it(golden, tmp_path):
    options = {"page_size": 1, "requests": 4}
    with tidy_sandbox(page_latency=0.05) as sandbox:
        thread = revoke_after(sandbox, 30)
        with pytest.raises(AccessRefused, match="no longer accepted; set a new one and run again") as caught:
            export(sandbox, tmp_path / "out", run=options)
        thread.join()
        assert "\n" not in str(caught.value)
        assert 1 <= len(refused(sandbox)) <= 4
        # Before anything else is asked, a run with a token that is not accepted ends.
        sandbox.restore_token()
        sandbox.clear_requests()
        export(sandbox, tmp_path / "out", run=options)
        again = sum("response_mode" in entry["query"] for entry in sandbox.requests())
    assert again < 60  # the first shard of 20 was not asked for again; on a busy machine others are asked for twice
    assert digest(tmp_path / "out") == golden


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_revoked_token_stops_all_workers_at_once(golden, tmp_path):
    with tidy_sandbox(page_latency=0.2) as sandbox:
        values = settings(
            sandbox, tmp_path / "out", run={"executor": "ray", "workers": 2, "page_size": 1, "requests": 8}
        )
        config = write_config(tmp_path, values)
        thread = revoke_after(sandbox, 10)
        done = command("run", config, env=environment(sandbox))
        thread.join()
        assert done.returncode == 1
        assert (
            "no longer accepted; set a new one and run again: SYNAPSE_ACCESS_TOKEN, or 'synapse login'" in done.stderr
        )
        assert "Traceback" not in done.stderr
        assert 1 <= len(refused(sandbox)) <= 8
        sandbox.restore_token()
        assert command("run", config, env=environment(sandbox)).returncode == 0
    assert digest(tmp_path / "out") == golden
