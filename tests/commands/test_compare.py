"""``diff``: known changes are named, exactly those, whatever an export's annotations are read from."""

import csv
import json
import shutil

import pytest
import yaml

from exporting import command, environment, export, settings, write_config
from pipeline.commands.compare import compare, open_export, open_live
from pipeline.commands.session import open_session
from pipeline.config.loading import parse_config
from pipeline.errors import DamagedExportError, PreflightError
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import open_storage
from stores import environment_of

TABLES = {"formats": ["csv"], "save_original_file": False}


@pytest.fixture(scope="module")
def first(tidy, tmp_path_factory):
    """An export with a table of annotations."""
    path = tmp_path_factory.mktemp("first") / "out"
    export(tidy, path, **TABLES)
    return path


def difference(before, after, limit=0):
    return compare(open_export(open_storage(str(before))), open_export(open_storage(str(after))), limit)


def live_difference(sandbox, before, **overrides):
    config = parse_config(yaml.safe_dump(settings(sandbox, before.parent / "elsewhere", **overrides)))
    with environment_of(sandbox.environment()), open_session(config) as session:
        return compare(open_export(open_storage(str(before))), open_live(session), 0)


def kinds(found):
    """The kinds of changes that were found, with their numbers."""
    return {kind: number for kind, number in found.counts.items() if number}


def edited(path, target, change):
    """A copy of an export whose table of annotations ``change`` rewrites, row by row; None removes a row."""
    shutil.copytree(path, target)
    table = target / "annotations.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(new for row in rows if (new := change(dict(row))) is not None)
    return target


def test_an_export_does_not_differ_from_itself(first):
    found = difference(first, first)
    assert found.is_same
    assert found.records == {"before": 60, "after": 60, "same": 60, "added": 0, "removed": 0, "changed": 0}
    assert found.annotations_from == ("annotations.csv", "annotations.csv")


def test_documents_tables_and_the_api_say_the_same(tidy, first, tmp_path):
    export(tidy, tmp_path / "json", **{**TABLES, "formats": ["synapse_json"]})
    found = difference(first, tmp_path / "json")
    assert found.annotations_from == ("annotations.csv", "json/")
    assert kinds(found) == {}
    assert kinds(live_difference(tidy, first, **TABLES)) == {}


@pytest.mark.slow
def test_nasty_documents_say_the_same_as_their_table(nasty, tmp_path):
    values = {"max_failures": "100%", "save_original_file": False, "on_failed_annotation": "keep"}
    export(nasty, tmp_path / "out", formats=[{"csv": {"bom": True}}], **values)
    found = live_difference(nasty, tmp_path / "out", formats=["csv"], **values)
    assert kinds(found) == {}
    assert found.records["same"] == found.records["before"] > 60


@pytest.mark.slow
def test_originals_with_another_name_for_their_file_are_found(tidy, tmp_path):
    """With originals the files of documents are named after them; a table of the same records still agrees."""
    export(tidy, tmp_path / "with", formats=["synapse_json"])
    export(tidy, tmp_path / "table", formats=["csv"])
    assert kinds(difference(tmp_path / "with", tmp_path / "table")) == {}
    assert kinds(live_difference(tidy, tmp_path / "with", formats=["csv"])) == {}


def test_records_that_came_went_and_were_labelled_again_are_named(tmp_path):
    with Sandbox(SandboxOptions(records=40)) as sandbox:
        export(sandbox, tmp_path / "before", **TABLES)
        truth = {record.key: record for record in sandbox.truth("task")}
        keys = list(truth)
        gone, labelled = keys[5], keys[12]
        sandbox.delete_records("task", [gone])
        sandbox.change_records("task", [labelled])
        (new,) = sandbox.add_records("task", 1)
        export(sandbox, tmp_path / "after", **TABLES)
        found = difference(tmp_path / "before", tmp_path / "after")
        live = live_difference(sandbox, tmp_path / "before", **TABLES)
        fresh = next(record for record in sandbox.truth("task") if record.key == new)
    assert found.records == {"before": 40, "after": 40, "same": 38, "added": 1, "removed": 1, "changed": 1}
    assert live.counts == found.counts
    assert live.changes == found.changes
    by_kind = {}
    for change in found.changes:
        by_kind.setdefault(change.kind, []).append(change)
    assert [change.record_id for change in by_kind["record_added"]] == [new]
    assert [change.record_id for change in by_kind["record_removed"]] == [gone]
    lost = [change for change in by_kind["annotation_removed"] if change.record_id == labelled]
    assert len(lost) == 1
    assert lost[0].annotation_id in {thing.id for media in truth[labelled].media for thing in media.things}
    removed = {change.annotation_id for change in by_kind["annotation_removed"] if change.record_id == gone}
    assert removed == {thing.id for media in truth[gone].media for thing in media.things}
    added = {(change.record_id, change.annotation_id) for change in by_kind["annotation_added"]}
    assert added == {(new, thing.id) for media in fresh.media for thing in media.things}
    assert by_kind.keys() == {
        "record_added", "record_removed", "image_added", "image_removed", "annotation_added", "annotation_removed",
    }  # fmt: skip


def test_moved_reclassified_edited_and_removed_annotations_are_named(first, tmp_path):
    planted = {}

    def change(row):
        if (
            row["tool"] != "bounding_box"
            or len(planted) == 4
            or any(row["record_id"] == k[0] for k in planted.values())
        ):
            return row
        kind = ("annotation_moved", "annotation_reclassified", "annotation_edited", "annotation_removed")[len(planted)]
        planted[kind] = row["record_id"], row["source_id"], row["class"]
        if kind == "annotation_moved":
            row["x"] = str(float(row["x"]) + 1)
        elif kind == "annotation_reclassified":
            row["class"] = "bus" if row["class"] != "bus" else "car"
        elif kind == "annotation_edited":
            row["attributes"] = '{"planted":true}'
        else:
            return None
        return row

    found = difference(first, edited(first, tmp_path / "out", change))
    assert kinds(found) == dict.fromkeys(planted, 1)
    for one in found.changes:
        assert (str(one.record_id), one.annotation_id, one.before) == planted[one.kind]
    assert found.records["changed"] == 4
    (pair,) = found.reclassified
    was = planted["annotation_reclassified"][2]
    assert (pair.before, pair.count, pair.after != was) == (was, 1, True)
    moved = planted["annotation_moved"][2]
    assert found.classes[moved].moved == 1
    assert sum(changes.came for changes in found.classes.values()) == 1


def test_renamed_classes_and_other_splits_are_told(tidy, first, tmp_path):
    other = {"split": "none", "classes": {"rename": {"car": "vehicle"}, "drop": ["bus"]}}
    export(tidy, tmp_path / "out", **TABLES, **other)
    found = difference(first, tmp_path / "out")
    assert {(pair.before, pair.after) for pair in found.reclassified} == {("car", "vehicle")}
    assert {(pair.before, pair.after) for pair in found.splits} == {("val", "train"), ("test", "train")}
    assert sum(pair.count for pair in found.splits) == found.counts["split_moved"]
    assert found.classes["bus"].removed == found.counts["annotation_removed"] > 0
    numbers = {one.name: (one.before, one.after) for one in found.class_numbers}
    assert numbers["car"][1] is None
    assert numbers["vehicle"][0] is None
    assert live_difference(tidy, first, **TABLES, **other).counts == found.counts


def test_other_bytes_of_an_original_are_a_changed_image(tidy, tmp_path):
    with Sandbox(SandboxOptions(records=60, copied=6)) as other:
        export(tidy, tmp_path / "before", formats=["csv"], masks="exclude")
        export(other, tmp_path / "after", formats=["csv"], masks="exclude")
    found = difference(tmp_path / "before", tmp_path / "after")
    changed = [change for change in found.changes if change.kind == "image_changed"]
    assert kinds(found) == {"image_changed": len(changed)}
    assert len(changed) == 10


def test_formats_that_train_hold_no_annotations_to_compare(tidy, tmp_path):
    export(tidy, tmp_path / "out", formats=["coco"], save_original_file=False)
    found = difference(tmp_path / "out", tmp_path / "out")
    assert found.annotations_from == ("", "")
    assert found.is_same


def test_a_limit_lists_the_first_changes_and_counts_all(tidy, first, tmp_path):
    export(tidy, tmp_path / "out", **TABLES, split="none")
    found = difference(first, tmp_path / "out", limit=2)
    assert found.counts["split_moved"] > 2 == len(found.changes)


def test_what_is_no_export_or_was_damaged_is_refused(first, tmp_path):
    with pytest.raises(PreflightError, match="no finished export"):
        open_export(open_storage(str(tmp_path)))
    shutil.copytree(first, tmp_path / "out")
    records = tmp_path / "out/metadata/records.csv"
    records.write_bytes(records.read_bytes()[:-40] + b"\n")
    with pytest.raises(DamagedExportError, match=r"records\.csv:61: has \d+ columns instead of 13"):
        difference(first, tmp_path / "out")


def test_the_command_tells_it_and_its_exit_code(tidy, first, tmp_path):
    values = settings(tidy, tmp_path / "out", **TABLES, classes={"rename": {"car": "vehicle"}})
    config = write_config(tmp_path, values)
    done = command("diff", first, config, "--exit-code", "--limit", "1", env=environment(tidy))
    assert done.returncode == 1, done.stderr
    assert "class car → vehicle:" in done.stdout
    assert "records: 0 added, 0 removed," in done.stdout
    done = command("diff", first, first, "--json", "--exit-code", env=environment())
    assert (done.returncode, json.loads(done.stdout)["same"]) == (0, True)
