"""A record's split depends on the record, its group and a file, and on nothing else."""

import csv

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporting import digest, export, settings, summary
from pipeline.commands.forecast import forecast
from pipeline.config.loading import parse_config
from pipeline.config.sections import SplitConfig
from pipeline.config.split_file import SplitFile, read_split_file, split_of
from pipeline.errors import ConfigError, StagingError
from pipeline.model.splits import UNASSIGNED, key_text, split_by_hash
from pipeline.records import Record
from pipeline.run import run
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import open_storage

BY_RECORD = SplitConfig(by="file", file="splits.csv")
BY_UNIT = SplitConfig(by="file", file="splits.csv", key="data_unit")
BY_PATH = SplitConfig(by="file", file="splits.csv", key="document.extra.scene")
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(key_text).filter(len)
names = st.sampled_from(["train", "val", "test", "extra-1"])


def records(path):
    return list(csv.DictReader((path / "metadata/records.csv").read_text().splitlines()))


def splits_of(path):
    return {int(row["record_id"]): row["split"] for row in records(path)}


def read(text, split=BY_RECORD):
    return read_split_file(text.encode(), split)


@given(st.lists(st.tuples(st.integers(1, 10**9), words), min_size=1, max_size=30), st.randoms())
def test_a_group_is_in_one_split_whatever_else_is_exported(members, order):
    """The split follows from the group alone: neither from the record nor from the order."""
    split = SplitConfig(by="hash", key="data_unit.meta.video", ratios={"train": 0.5, "val": 0.5})
    found = {group: split_of(Record(record_id, group=group), split) for record_id, group in members}
    order.shuffle(members)
    for record_id, group in members:
        assert split_of(Record(record_id, group=group), split) == found[group]
        assert found[group] == split_by_hash(group, split.ratios)


@given(st.integers(1, 10**9))
def test_a_record_without_a_group_is_split_as_without_a_key(record_id):
    grouped = SplitConfig(by="hash", key="data_unit")
    assert split_of(Record(record_id), grouped) == split_of(Record(record_id), SplitConfig(by="hash"))


@given(st.dictionaries(words, names, min_size=1, max_size=40), st.randoms())
def test_a_file_in_any_order_says_the_same(wanted, order):
    rows = list(wanted.items())
    order.shuffle(rows)
    lines = "".join(f'"{key.replace(chr(34), chr(34) * 2)}",{split}\n' for key, split in [*rows, rows[0]])
    found = read(f"key,split\n{lines}", BY_PATH)
    assert len(found) == len(wanted)
    again = SplitFile.decode(found.encode())
    for key, split in wanted.items():
        assert found.find(key) == again.find(key) == split
        assert split_of(Record(1, group=key), BY_PATH, again) == split
    assert found.find("not one of them") is None
    assert again.digest == found.digest


def test_a_key_takes_nine_bytes():
    found = read("record_id,split\n" + "".join(f"{number},train\n" for number in range(1000)))
    assert len(found.encode()) < 9 * 1000 + 100


@pytest.mark.parametrize(
    "damage", [b"", b"x", lambda data: data[:-1], lambda data: data + b"x", lambda data: b"0" + data]
)
def test_frozen_splits_that_are_damaged_are_none(damage):
    data = read("record_id,split\n1,train\n").encode()
    assert SplitFile.decode(damage(data) if callable(damage) else damage) is None


def test_what_a_file_does_not_name_is_unassigned():
    listed = read("record_id,split\n7,val\n")
    assert split_of(Record(7), BY_RECORD, listed) == "val"
    assert split_of(Record(8), BY_RECORD, listed) == UNASSIGNED
    assert split_of(Record(7), BY_UNIT, listed) == UNASSIGNED, "a record without a group has no key of a group"


def test_what_spreadsheets_make_of_a_file_is_read():
    text = "\ufeffnote, record_id ,split\r\n" + 'first,"0042", train \r\n\r\n,7,val\r\n'
    listed = read(text)
    assert (listed.find("42"), listed.find("7"), len(listed)) == ("train", "val", 2)
    assert listed.names == ("train", "val")


@pytest.mark.parametrize(
    ("text", "split", "problem"),
    [
        ("", BY_RECORD, "splits.csv:1: has no column 'record_id' or 'key'"),
        ("record_id,split\n", BY_RECORD, "splits.csv: names no key"),
        ("id,split\n1,train\n", BY_RECORD, "splits.csv:1: has no column 'record_id' or 'key'; it has: id, split"),
        ("record_id,part\n1,train\n", BY_RECORD, "splits.csv:1: has no column 'split'"),
        ("data_unit,split\n1,train\n", BY_PATH, "splits.csv:1: has no column 'key'"),
        ("record_id,split\n1,train\n2\n", BY_RECORD, "splits.csv:3: has 1 columns, the header has 2"),
        ("record_id,split\n1,Train\n", BY_RECORD, "splits.csv:2: 'Train' is not a split name"),
        ("record_id,split\n1,../up\n", BY_RECORD, "splits.csv:2: '../up' is not a split name"),
        ("record_id,split\n1,\n", BY_RECORD, "splits.csv:2: '' is not a split name"),
        ("record_id,split\n,train\n", BY_RECORD, "splits.csv:2: the key is empty"),
        ("record_id,split\nx1,train\n", BY_RECORD, "splits.csv:2: 'x1' is not the id of a record"),
        (
            "record_id,split\n1,train\n2,val\n3,val\n1,train\n2,train\n",
            BY_RECORD,
            "splits.csv:6: '2' is in 'train' here and in 'val' on line 3",
        ),
        ('record_id,split\n1,"train\n', BY_RECORD, "splits.csv:2: is not CSV"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(text, split, problem):
    with pytest.raises(ConfigError) as caught:
        read(text, split)
    assert str(caught.value).startswith(problem)


def test_a_file_of_another_encoding_is_told():
    with pytest.raises(ConfigError, match=r"splits\.csv: is not UTF-8"):
        read_split_file("key,split\n낮,train\n".encode("cp949"), BY_PATH)


@pytest.mark.parametrize(
    ("value", "text"),
    [(" a ", "a"), ("\u1100\u1161", "가"), (7, "7"), (True, "true"), (1.5, ""), (None, ""), ([1], ""), ({"a": 1}, "")],
)
def test_texts_whole_numbers_and_truth_are_values(value, text):
    assert key_text(value) == text


GROUPS = {
    "data_unit": lambda truth: str(5000 + truth.index),
    "data_unit.meta.video": lambda truth: f"drive_{truth.index // 5:03d}",
    "document.extra.image_1.width": lambda truth: str(truth.media[0].width),
    "file_name": lambda truth: truth.file_name,
}


KEYS = [(target, key) for target in ("task", "assignment", "ground_truth") for key in GROUPS]
KEYS.remove(("ground_truth", "data_unit.meta.video"))  # refused


@pytest.mark.parametrize(("target", "key"), KEYS)
def test_all_records_of_a_group_are_in_the_split_of_its_value(tidy, tmp_path, target, key):
    ratios = {"train": 0.5, "val": 0.5}
    export(tidy, tmp_path / "out", target=target, split={"by": "hash", "key": key, "ratios": ratios}, formats=["coco"])
    found = splits_of(tmp_path / "out")
    groups = {truth.key: GROUPS[key](truth) for truth in tidy.truth(target)}
    assert found == {record_id: split_by_hash(group, ratios) for record_id, group in groups.items()}
    assert set(found.values()) == set(ratios)
    assert not [text for text in summary(tmp_path / "out")["warnings"] if "records have no" in text]


def test_the_group_survives_every_way_the_api_answers(tidy, tmp_path):
    split = {"by": "hash", "key": "document.extra.image_1.width", "ratios": {"train": 0.5, "val": 0.5}}
    export(tidy, tmp_path / "plain", split=split)
    for payload in ("presigned", "mixed"):
        with Sandbox(SandboxOptions(profile="tidy", records=60, payload=payload)) as sandbox:
            export(sandbox, tmp_path / payload, split=split, run={"shard_size": 7})
        assert digest(tmp_path / payload) == digest(tmp_path / "plain")


def test_records_without_the_key_are_counted_and_split_by_their_ids(tidy, tmp_path):
    export(tidy, tmp_path / "keyless", split={"by": "hash", "key": "data_unit.meta.drone"})
    export(tidy, tmp_path / "plain")
    assert splits_of(tmp_path / "keyless") == splits_of(tmp_path / "plain")
    told = "60 records have no data_unit.meta.drone; they are split by their own ids, not as a group"
    assert told in summary(tmp_path / "keyless")["warnings"]


def test_a_nasty_key_is_no_reason_to_fail(nasty, tmp_path):
    """Names of every kind as groups, records with several images: one split each, for any shard size."""
    split = {"by": "hash", "key": "file_name"}
    for size in (7, 1000):
        export(nasty, tmp_path / str(size), max_failures="100%", split=split, run={"shard_size": size})
    assert digest(tmp_path / "7") == digest(tmp_path / "1000")
    groups = {}
    for row in records(tmp_path / "7"):
        groups.setdefault(row["record_id"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in groups.values())


def write_splits(path, rows, column="record_id"):
    path.write_text(f"{column},split\n" + "".join(f"{key},{split}\n" for key, split in rows))
    return {"by": "file", "file": str(path)}


def test_a_file_decides_and_the_rest_is_unassigned(tidy, tmp_path):
    wanted = {truth.key: "holdout" if truth.index % 3 else "train" for truth in tidy.truth("task")}
    missing = sorted(wanted)[:4]
    rows = [(key, split) for key, split in wanted.items() if key not in missing]
    split = write_splits(tmp_path / "splits.csv", [*rows, (999_999, "train"), (999_998, "val")])
    export(tidy, tmp_path / "out", split=split)
    assert splits_of(tmp_path / "out") == wanted | dict.fromkeys(missing, UNASSIGNED)
    told = summary(tmp_path / "out")
    assert list(told["splits"]) == ["train", "holdout", UNASSIGNED]
    assert f"2 ids in {split['file']} are of no record of this export" in told["warnings"]
    assert f"4 samples are not in {split['file']}; they are in split 'unassigned'" in told["warnings"]
    export(tidy, tmp_path / "again", split=split, run={"shard_size": 7})
    assert digest(tmp_path / "again") == digest(tmp_path / "out")


def test_a_file_can_name_groups(tidy, tmp_path):
    groups = {f"drive_{index:03d}": "val" if index % 4 == 0 else "train" for index in range(20)}
    split = write_splits(tmp_path / "splits.csv", groups.items(), "key") | {"key": "data_unit.meta.video"}
    export(tidy, tmp_path / "out", split=split)
    expected = {truth.key: groups[f"drive_{truth.index // 5:03d}"] for truth in tidy.truth("task")}
    assert splits_of(tmp_path / "out") == expected


def in_this_process(sandbox, monkeypatch, folder, call=run, **overrides):
    for key, value in sandbox.environment().items():
        monkeypatch.setenv(key, value)
    return call(parse_config(yaml.safe_dump(settings(sandbox, folder / "out", **overrides))), search_path=str(folder))


def test_a_relative_file_is_beside_the_configuration(tidy, tmp_path, monkeypatch):
    write_splits(tmp_path / "splits.csv", [(truth.key, "val") for truth in tidy.truth("task")])
    split = {"by": "file", "file": "splits.csv"}
    assert in_this_process(tidy, monkeypatch, tmp_path, forecast, split=split).splits == {"val": 60}
    in_this_process(tidy, monkeypatch, tmp_path, split=split)
    assert set(splits_of(tmp_path / "out").values()) == {"val"}


@pytest.mark.parametrize("call", [run, forecast])
def test_a_file_that_is_not_there_is_told_before_any_work(tidy, tmp_path, monkeypatch, call):
    with pytest.raises(ConfigError, match=r"split\.file: lost\.csv does not exist"):
        in_this_process(tidy, monkeypatch, tmp_path, call, split={"by": "file", "file": "lost.csv"})
    assert not (tmp_path / "out/metadata").exists()


def test_a_file_at_a_url_is_read(tidy, tmp_path):
    rows = "".join(f"{truth.key},test\n" for truth in tidy.truth("task"))
    open_storage("memory://side").write("splits.csv", f"record_id,split\n{rows}".encode())
    export(tidy, tmp_path / "out", split={"by": "file", "file": "memory://side/splits.csv"})
    assert set(splits_of(tmp_path / "out").values()) == {"test"}


@pytest.fixture
def interrupted(tidy, tmp_path, monkeypatch):
    """An export by a file, stopped when it had extracted everything; returns how to continue it."""
    keys = [truth.key for truth in tidy.truth("task")]
    split = write_splits(tmp_path / "splits.csv", [(key, "train") for key in keys])
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.sequence.render_shards", lambda *_: pytest.fail("stopped here"))
        with pytest.raises(pytest.fail.Exception, match="stopped here"):
            export(tidy, tmp_path / "out", split=split)
    write_splits(tmp_path / "splits.csv", [(key, "val") for key in keys])
    return lambda: export(tidy, tmp_path / "out", split=split)


def test_a_continued_run_splits_as_it_began(interrupted, tmp_path):
    interrupted()
    assert set(splits_of(tmp_path / "out").values()) == {"train"}


def test_lost_splits_are_noticed(interrupted, tmp_path):
    """With other splits in the file by now, what was numbered under the old ones is void."""
    (lost,) = (tmp_path / "out/_staging").glob("*/splits.bin")
    lost.write_bytes(lost.read_bytes()[:-1])
    with pytest.raises(StagingError, match="start anew with on_existing: overwrite"):
        interrupted()
