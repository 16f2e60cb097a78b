"""One record of each malformation among a thousand: the others are exported, books balance, the list is exact."""

import csv
import json

import pytest

from exporting import command, environment, export, settings, storage, summary, verify, write_config
from pipeline.model.ledger import merge_ledgers
from pipeline.reasons import Reason
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.sandbox.data import FOREIGN_ROWS, SandboxData
from pipeline.sandbox.nasty import NASTY_KINDS, nasty_record
from pipeline.sandbox.records import record_rng

RECORDS = 1000
FIRST, STEP = 20, 7  # where the poison is: positions that fall into many shards


def poisoned_positions():
    return {FIRST + STEP * number: kind for number, kind in enumerate(NASTY_KINDS)}


@pytest.fixture(scope="module")
def poisoned():
    """A thousand records, one of each malformation among them; and the kind of each by its key."""
    positions = poisoned_positions()
    assert max(positions) < RECORDS
    real = SandboxData.build_record

    def build(data, index):
        kind = positions.get(index)
        if kind is None:
            return real(data, index)
        options = data.options
        rng = record_rng(options.seed, index)
        return nasty_record(rng, index, 1, data.keys["assignment"][index], options.image_size, (kind,))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxData, "build_record", build)
        with Sandbox(SandboxOptions(profile="tidy", records=RECORDS)) as sandbox:
            kinds = {truth.key: truth.kind for truth in sandbox.truth("task") if truth.kind in NASTY_KINDS}
            yield sandbox, kinds


@pytest.fixture(scope="module")
def exported(poisoned, tmp_path_factory):
    sandbox, _ = poisoned
    path = tmp_path_factory.mktemp("poisoned") / "out"
    values = {"formats": ["coco", "csv"], "save_original_file": False, "run": {"shard_size": 100}}
    result = export(sandbox, path, max_failures="50%", **values)
    lines = [json.loads(line) for line in (path / "metadata/failures.jsonl").read_text().splitlines()]
    return path, result, lines


def failed(lines):
    return {line["record_id"] for line in lines if line["outcome"] == "failed"}


def test_every_malformation_is_among_the_thousand(poisoned):
    _, kinds = poisoned
    assert len(kinds) >= len(NASTY_KINDS) - FOREIGN_ROWS
    assert len(kinds) > 60


def test_the_neighbours_are_exported_and_only_poison_fails(poisoned, exported):
    sandbox, kinds = poisoned
    path, result, lines = exported
    assert result.summary["records"]["planned"] == len(sandbox.truth("task"))
    assert failed(lines) <= kinds.keys()
    assert len(failed(lines)) == result.summary["failed_records"] > 10
    with (path / "metadata/records.csv").open(newline="") as file:
        written = {int(row["record_id"]) for row in csv.DictReader(file)}
    assert {truth.key for truth in sandbox.truth("task")} - kinds.keys() <= written
    verify(path, full=True)


def test_what_cannot_be_read_fails_and_what_can_be_read_is_there(poisoned, exported):
    """The sandbox knows what a reader can make of each of its records."""
    sandbox, _ = poisoned
    _, _, lines = exported
    unreadable = {truth.key for truth in sandbox.truth("task") if not truth.readable}
    said = {line["record_id"] for line in lines}
    assert unreadable
    assert unreadable <= said  # a reason is on record for each, whether it is a failure or left out by rule


def test_every_failure_has_a_reason_from_the_list(exported):
    _, _, lines = exported
    assert all(line["reason"] in set(Reason) for line in lines)
    assert len({line["reason"] for line in lines if line["outcome"] == "failed"}) >= 5


def test_the_books_balance(exported):
    _, result, _ = exported
    ledger = merge_ledgers([result.success.ledger])
    ledger.check()
    for count in (ledger.records, ledger.annotations):
        assert count.seen == count.written + sum(count.skipped.values()) + sum(count.failed.values())


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("how", ["zero", "number", "percentage"])
def test_the_exit_code_follows_the_limit(poisoned, exported, tmp_path, how, over):
    sandbox, kinds = poisoned
    _, result, lines = exported
    number = result.summary["failed_records"]
    planned = result.summary["records"]["planned"]
    sound = sorted({truth.key for truth in sandbox.truth("task")} - failed(lines))
    limit = {"zero": 0, "number": number - over, "percentage": f"{100 * (number + 0.5 - over) / planned:.4f}%"}[how]
    chosen = {"project": sandbox.project_id}
    if how == "zero" and not over:
        chosen["ids"] = sound[:50]
    values = settings(
        sandbox, tmp_path / "out", formats=["csv"], save_original_file=False, max_failures=limit, filter=chosen,
        run={"shard_size": 100},
    )  # fmt: skip
    done = command("run", write_config(tmp_path, values), env=environment(sandbox))
    assert done.returncode == (3 if over else 0), done.stderr
    assert (tmp_path / "out/_SUCCESS.json").exists() != over
    if over:
        assert f"{number} of {planned} records failed" in done.stderr
        listed = next((tmp_path / "out").glob("_staging/*/failures.jsonl")).read_text().splitlines()
        assert failed(map(json.loads, listed)) == failed(lines)
        assert storage(tmp_path / "out").find("metadata/export_summary.json") is None
    else:
        assert summary(tmp_path / "out")["failed_records"] == (0 if how == "zero" else number)
    assert kinds
