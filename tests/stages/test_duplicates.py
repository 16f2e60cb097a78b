"""Originals with the same bytes: reported, refused, or kept in one split."""

import csv
import hashlib
import random
import signal
import subprocess
import sys
from itertools import groupby, pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporting import ROOT, command, digest, environment, export, settings, storage, summary, verify, write_config
from pipeline.commands.retry_failed import retry_failed
from pipeline.config.loading import parse_config
from pipeline.errors import ConfigError, DuplicatesError, FailureLimitError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.sandbox.data import FOREIGN_ROWS
from pipeline.staging.sorting import sorted_lines
from stores import environment_of

RECORDS, COPIED = 60, 6


@pytest.fixture(scope="module")
def sandbox():
    """Each sixth record has the picture of the record three before it."""
    with Sandbox(SandboxOptions(records=RECORDS, copied=COPIED)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def reported(sandbox, tmp_path_factory):
    path = tmp_path_factory.mktemp("reported") / "out"
    return export(sandbox, path), path


@pytest.fixture(scope="module")
def kept(sandbox, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "out"
    return export(sandbox, path, duplicates="same_split"), path


def rows(path, name):
    with (path / "metadata" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def injected(path):
    """The pairs of records that the sandbox gave the same picture; it counts rows of another project, too."""
    ids = dict(enumerate((int(row["record_id"]) for row in rows(path, "records.csv")), start=FOREIGN_ROWS))
    assert len(ids) == RECORDS
    return {(ids[index - COPIED // 2], own) for index, own in ids.items() if index % COPIED == 0}


def listed(path):
    found = rows(path, "duplicates.csv")
    return {
        tuple(int(row["record_id"]) for row in group): {row["split"] for row in group}
        for group in (list(group) for _, group in groupby(found, key=lambda row: row["sha256"]))
    }


def splits(path):
    return {int(row["record_id"]): row["split"] for row in rows(path, "records.csv")}


def test_injected_duplicates_are_all_listed_and_nothing_else(reported):
    result, path = reported
    assert listed(path).keys() == injected(path)
    for row in rows(path, "duplicates.csv"):
        assert hashlib.sha256((path / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        assert row["file"].startswith(f"images/{row['split']}/")
    assert sum(len(found) > 1 for found in listed(path).values()) == result.summary["duplicates"]["across_splits"] > 0
    pairs = len(injected(path))
    counted = {key: result.summary["duplicates"][key] for key in ("policy", "originals", "groups", "files")}
    assert counted == {"policy": "report", "originals": RECORDS, "groups": pairs, "files": 2 * pairs}


def test_the_screen_says_so_at_the_end(sandbox, tmp_path):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out"))
    done = command("run", config, env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    counts = summary(tmp_path / "out")["duplicates"]
    told = [line for line in done.stdout.splitlines() if "metadata/duplicates.csv" in line]
    assert len(told) == 2
    assert told[0].startswith(f"warning: {counts['files_across_splits']} originals are in more than one split")


def test_the_list_is_beside_the_content_and_verified(reported, tmp_path):
    result, path = reported
    sums = (path / "metadata/SHA256SUMS").read_bytes().splitlines(keepends=True)
    beside = (b"metadata/duplicates.csv\n", b"metadata/export_summary.json\n")
    assert [line.endswith(beside) for line in sums[-2:]] == [True, True]
    content = b"".join(line for line in sums if not line.endswith(beside))
    assert hashlib.sha256(content).hexdigest() == result.success.content
    assert verify(path, full=True).files == len([file for file in path.rglob("*") if file.is_file()]) - 1


def test_an_export_without_duplicates_has_no_list(tidy, tmp_path):
    result = export(tidy, tmp_path / "out")
    assert not (tmp_path / "out/metadata/duplicates.csv").exists()
    found = result.summary["duplicates"]
    assert (found["originals"], found["groups"], found["across_splits"]) == (60, 0, 0)


def test_an_export_without_originals_compares_none(sandbox, tmp_path):
    result = export(sandbox, tmp_path / "out", save_original_file=False)
    assert result.summary["duplicates"]["originals"] == 0
    for policy in ("same_split", "fail"):
        with pytest.raises(ConfigError, match="needs save_original_file: true"):
            export(sandbox, tmp_path / "out", save_original_file=False, duplicates=policy)


def test_fail_names_pairs_and_publishes_nothing_until_it_is_allowed(sandbox, reported, tmp_path):
    leaks = sorted(pair for pair, found in listed(reported[1]).items() if len(found) > 1)
    with pytest.raises(DuplicatesError) as raised:
        export(sandbox, tmp_path / "out", duplicates="fail")
    for first, second in leaks:
        assert f"(record {first}) and " in str(raised.value)
        assert f"(record {second})" in str(raised.value)
    assert not (tmp_path / "out/_SUCCESS.json").exists()
    # Nothing but the verdict was missing: the same export is published as soon as duplicates are only reported.
    sandbox.clear_requests()
    export(sandbox, tmp_path / "out", duplicates="report")
    assert not [entry for entry in sandbox.requests() if entry["path"].startswith("/blobs/")]
    assert digest(tmp_path / "out") == digest(reported[1])
    with pytest.raises(DuplicatesError, match="is published"):
        export(sandbox, tmp_path / "out", duplicates="fail")


def test_fail_allows_copies_within_a_split(sandbox, tmp_path):
    result = export(sandbox, tmp_path / "out", duplicates="fail", split="none")
    assert result.summary["duplicates"]["groups"] == len(injected(tmp_path / "out"))


def test_same_split_moves_copies_to_the_split_of_the_lowest_record_and_nothing_else(reported, kept):
    before, after = splits(reported[1]), splits(kept[1])
    expected = dict(before)
    for first, second in injected(kept[1]):
        expected[second] = before[first]
    assert after == expected != before
    assert listed(kept[1]).keys() == injected(kept[1])
    assert all(len(found) == 1 for found in listed(kept[1]).values())


def test_same_split_is_the_export_that_a_file_with_these_splits_gives(sandbox, kept, tmp_path):
    """All that is counted by split (classes, ids, positions, images) is as if the records had been there all along."""
    lines = [f"{record},{split}" for record, split in splits(kept[1]).items()]
    (tmp_path / "splits.csv").write_text("\n".join(["record_id,split", *lines]))
    other = export(sandbox, tmp_path / "out", split={"by": "file", "file": str(tmp_path / "splits.csv")})
    assert other.success.content == kept[0].success.content
    for key in ("classes", "splits", "trees"):
        assert other.summary[key] == kept[0].summary[key]


@pytest.mark.parametrize(
    "run",
    [
        {"shard_size": 7},
        pytest.param({"shard_size": 60, "requests": 3}, marks=pytest.mark.slow),
        pytest.param({"executor": "processes", "workers": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_same_split_gives_the_same_bytes_whoever_does_the_work(sandbox, kept, tmp_path, run):
    export(sandbox, tmp_path / "out", duplicates="same_split", run=run)
    assert digest(tmp_path / "out") == digest(kept[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "pattern", "count"),
    [("after", "hash/", 2), ("before", "moves.bin", 1), ("after", "moves.bin", 1), ("after", "catalog.json", 1)],
)
def test_same_split_survives_a_kill_at_any_moment(sandbox, kept, tmp_path, when, pattern, count):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", duplicates="same_split"))
    killer = [sys.executable, ROOT / "tests/killer.py", when, pattern, str(count), "run", config]
    killed = subprocess.run(killer, env=environment(sandbox), cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    export(sandbox, tmp_path / "out", duplicates="same_split")
    assert digest(tmp_path / "out") == digest(kept[1])


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["hash/000001.json", "moves.bin"])
def test_damaged_decisions_are_made_again(sandbox, kept, tmp_path, damaged):
    export(sandbox, tmp_path / "out", duplicates="same_split", run={"keep_staging": True})
    (tmp_path / "out/_SUCCESS.json").unlink()
    (victim,) = (tmp_path / "out").glob(f"_staging/*/{damaged}")
    victim.write_bytes(victim.read_bytes()[:-9])
    for path in (tmp_path / "out").glob("_staging/*/render/*.json"):
        path.unlink()
    export(sandbox, tmp_path / "out", duplicates="same_split")
    assert digest(tmp_path / "out") == digest(kept[1])


def test_same_split_keeps_groups_together(sandbox, tmp_path):
    """Records that share an original or a group are one family, and no family is in two splits."""
    videos = {"by": "hash", "key": "data_unit.meta.video"}
    plain, path = tmp_path / "plain", tmp_path / "out"
    export(sandbox, plain, split=videos)
    result = export(sandbox, path, duplicates="same_split", split=videos)
    assert result.summary["duplicates"]["across_splits"] == 0
    video = {record: index // 5 for index, record in enumerate(sorted(splits(path)), start=FOREIGN_ROWS)}
    family = {record: {record} for record in video}
    for one, other in (*injected(path), *pairwise(video)):
        if (one, other) in injected(path) or video[one] == video[other]:
            joined = family[one] | family[other]
            family |= dict.fromkeys(joined, joined)
    before, after = splits(plain), splits(path)
    assert before != after
    for record, members in family.items():
        assert after[record] == before[min(members)]


def test_an_original_that_fails_is_tried_again_before_splits_are_frozen(sandbox, kept, tmp_path):
    victim = f"/files/{COPIED:08d}/"
    sandbox.set_faults([Fault(route="originals", kind="403", match=victim)])
    try:
        with pytest.raises(FailureLimitError, match="1 of 60 records failed"):
            export(sandbox, tmp_path / "out", duplicates="same_split")
    finally:
        sandbox.set_faults([])
    assert not list((tmp_path / "out").glob("_staging/*/catalog.json"))
    export(sandbox, tmp_path / "out", duplicates="same_split")
    assert digest(tmp_path / "out") == digest(kept[1])


@pytest.mark.parametrize("lost", [pytest.param(COPIED, marks=pytest.mark.slow), COPIED // 2 + COPIED])
def test_a_retry_decides_again_with_the_originals_that_had_failed(sandbox, kept, tmp_path, lost):
    """The copy that failed, or the original that the copy is of: without it nothing had to move."""
    values = {"duplicates": "same_split", "max_failures": 3}
    sandbox.set_faults([Fault(route="originals", kind="404", match=f"/files/{lost:08d}/")])
    try:
        export(sandbox, tmp_path / "out", **values)
    finally:
        sandbox.set_faults([])
    assert digest(tmp_path / "out") != digest(kept[1])
    with environment_of(sandbox.environment()):
        retry_failed(parse_config(yaml.safe_dump(settings(sandbox, tmp_path / "out", **values))))
    assert digest(tmp_path / "out") == digest(kept[1])
    verify(tmp_path / "out", full=True)


def test_staged_decisions_leave_nothing_behind(kept):
    assert storage(kept[1]).entries("_staging") in ([], ["locks"])


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"") + b"\n")), st.integers(1, 400))
def test_lines_are_sorted_whatever_is_held(lines, most):
    assert list(sorted_lines(iter(lines), most)) == sorted(lines)


def test_more_lines_than_are_held_are_sorted_outside_of_memory():
    dice = random.Random(1)
    lines = [b"%d\n" % dice.randrange(10**9) for _ in range(20_000)]
    assert list(sorted_lines(iter(lines), 64_000)) == sorted(lines)
