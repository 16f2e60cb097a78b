"""The class lock: the number of a class is the same in every export, and what would change that is refused."""

import json
import shutil

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporting import digest, export, settings, summary
from pipeline.commands.forecast import forecast
from pipeline.config.class_lock import (
    ClassLock,
    check_drift,
    decode_lock,
    encode_lock,
    lock_document,
    make_lock,
    save_lock,
)
from pipeline.config.loading import parse_config
from pipeline.errors import ConfigError
from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.progress import Listener
from pipeline.run import run
from pipeline.stages.catalog import catalog_of
from pipeline.staging.markers import Given

MINIMAL = {"name": "a", "target": "task", "filter": {"project": 1}, "path": "x", "formats": ["coco"]}
LOCK = ClassLock(classes=("car", "bus", "tree"), rename={"van": "car"}, drop=("fog",))
labels = st.sampled_from(["car", "bus", "van", "tree", "fog", "가로수"])
label_lists = st.lists(labels, unique=True, max_size=5)


def config(skeletons=None, **classes):
    unchanged = {"rename": LOCK.rename, "drop": list(LOCK.drop), "lock": "my.lock.json"}
    return parse_config(
        json.dumps(MINIMAL | {"classes": unchanged | classes} | ({"skeletons": skeletons} if skeletons else {}))
    )


def refusal(settings, configured=(), lock=LOCK):
    with pytest.raises(ConfigError) as caught:
        check_drift(lock, settings, configured)
    return str(caught.value)


@given(
    st.lists(st.tuples(label_lists, label_lists, st.dictionaries(labels, labels, max_size=2), label_lists), max_size=5)
)
def test_a_number_never_changes_its_name(exports):
    """Any exports, one after the other, each under the lock of the one before and with drift allowed."""
    locked = ()
    for observed, configured, rename, drop in exports:
        options = {"configured": configured, "rename": rename, "drop": drop, "locked": locked}
        catalog = build_catalog(ShardSummary(labels=dict.fromkeys(observed, 1)), name="x", **options)
        assert catalog.classes[: len(locked)] == locked
        assert len(set(catalog.classes)) == len(catalog.classes) == len(catalog.class_sources)
        for label in observed:
            final = catalog.names.final(label)
            index = catalog.class_index(label)
            assert (index is None) if final is None else (catalog.classes[index] == final)
        lock = decode_lock(lock_document(catalog), "here")
        assert lock == make_lock(catalog)
        assert lock.extends(ClassLock(classes=locked))
        locked = lock.classes


def test_the_document_is_for_people_too():
    text = encode_lock(ClassLock(classes=("car", "가로수"), skeletons={"person": ("nose",)})).decode()
    assert '\n    "car",\n    "가로수"\n' in text
    assert json.loads(text) == {
        "version": 1,
        "classes": ["car", "가로수"],
        "rename": {},
        "drop": [],
        "skeletons": {"person": ["nose"]},
    }


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b'{"classes": "car"}', b'{"version": 2}', b'{"clases": []}', b'{"classes": ["a", "a"]}',
        b'{"classes": [" a"]}', b'{"classes": [""]}', b'{"skeletons": {"p": ["a", "a"]}}',
    ],
)  # fmt: skip
def test_a_lock_that_is_none_is_told_with_its_path(text):
    with pytest.raises(ConfigError, match=r"^conf/my\.lock\.json: "):
        decode_lock(text, "conf/my.lock.json")


@pytest.mark.parametrize("drift", ["append", "error", "allow"])
def test_what_is_as_it_was_is_no_drift(drift):
    check_drift(LOCK, config(drift=drift), ["car", "van", "fog", "bus"])


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ({"rename": {}}, "'car' was 'car' + 'van', rename and drop make it 'car'"),
        ({"rename": {"van": "car", "lorry": "bus"}}, "'bus' was 'bus', rename and drop make it 'bus' + 'lorry'"),
        ({"rename": {"van": "car", "bus": "coach"}}, "'bus' was 'bus', rename and drop make it nothing"),
        ({"drop": ["fog", "tree"]}, "'tree' was 'tree', rename and drop make it nothing"),
        ({"drop": ["fog", "van"]}, "'car' was 'car' + 'van', rename and drop make it 'car'"),
        ({"order": ["bus", "car"]}, "order puts 'bus' before 'car', which is locked as number 0"),
        ({"order": ["new", "tree"]}, "order puts 'new' before 'tree', which is locked as number 2"),
    ],
)
def test_what_would_change_the_meaning_of_a_number_is_refused(classes, problem):
    for drift in ("append", "error"):
        assert refusal(config(drift=drift, **classes)) == f"my.lock.json: classes would drift: {problem}"
    check_drift(LOCK, config(drift="allow", **classes), [])


@pytest.mark.parametrize(
    "classes",
    [
        {"drop": []},
        {"drop": ["fog", "snow"]},
        {"rename": {"van": "car", "snow": "ice"}},
        {"order": ["tree", "new", "snow"]},
    ],
)
def test_what_touches_no_locked_class_is_no_drift(classes):
    check_drift(LOCK, config(**classes), ["new"])


def test_a_class_the_project_has_new_is_refused_before_work_where_nothing_may_change():
    check_drift(LOCK, config(), ["car", "new"])
    expected = "my.lock.json: classes would drift: classes that are not locked: new"
    assert refusal(config(drift="error"), ["car", "new", "van"]) == expected


def test_locked_skeletons_are_described_as_they_were():
    lock = msgspec.structs.replace(LOCK, skeletons={"crane": ("base", "tip")})
    check_drift(lock, config(), [])
    check_drift(lock, config({"new": {"points": ["a"]}, "crane": {"points": ["base", "tip", "hook"]}}), [])
    expected = "the points of skeleton 'crane' do not begin with the locked ones: base, tip"
    assert expected in refusal(config({"crane": {"points": ["tip", "base"]}}), lock=lock)
    assert "skeleton 'crane' is locked, but not in skeletons" in refusal(config({"a": {"points": ["b"]}}), lock=lock)


def test_a_dropped_class_keeps_its_number_where_that_is_allowed():
    given = Given(classes=("car", "tree"), lock=LOCK)
    found = catalog_of(config(drift="allow", drop=["bus"]), given, ShardSummary(labels={"bus": 1, "tree": 2}))
    assert found.classes == LOCK.classes
    assert found.class_index("bus") is None
    assert found.class_index("tree") == 2


def test_a_lock_about_classes_alone_says_nothing_of_skeletons():
    given = Given(classes=LOCK.classes, points=("a", "b"), lock=LOCK)
    found = catalog_of(config(drift="error"), given, ShardSummary(labels={"bus": 1}))
    assert (found.warnings, len(found.skeletons)) == ((), 1)


def test_new_points_of_a_locked_skeleton_are_new():
    given = Given(points=("b", "a"), lock=msgspec.structs.replace(LOCK, skeletons={"keypoints": ("a",)}))
    found = catalog_of(config(), given, ShardSummary())
    assert found.skeletons[0].points == ("a", "b")
    assert found.warnings == ("keypoints of 'keypoints' that are not locked: b; they come after those in my.lock.json",)
    with pytest.raises(ConfigError, match="keypoints of 'keypoints' that are not locked: b"):
        catalog_of(config(drift="error"), given, ShardSummary())


# The file beside the configuration.


def test_saving_never_takes_back_a_number(tmp_path):
    settings, path = config(), tmp_path / "my.lock.json"

    def save(classes, *, again=False):
        return save_lock(settings, str(tmp_path), encode_lock(ClassLock(classes=classes)), again=again)

    assert save(("a",)) == "my.lock.json holds the numbers of 1 classes"
    assert save(("a",)) == ""
    assert save(("a", "b")) == "my.lock.json holds the numbers of 2 classes"
    assert save(("a",)) == "", "what another export added stays"
    assert save(("a", "x")) == "my.lock.json has changed meanwhile and was not updated"
    assert save(("a", "x"), again=True) == ""
    assert save(("a", "b", "c"), again=True) == "my.lock.json holds the numbers of 3 classes"
    assert json.loads(path.read_text())["classes"] == ["a", "b", "c"]
    assert [file.name for file in tmp_path.iterdir()] == ["my.lock.json"]


def ids(path):
    return {entry["name"]: entry["id"] for entry in summary(path)["classes"]}


def first_half(tidy):
    keys = [truth.key for truth in tidy.truth("task")]
    return {"project": tidy.project_id, "ids": keys[:30]}


class Messages(Listener):
    """What a run told."""

    def __init__(self):
        self.told = []

    def message(self, text):
        self.told.append(text)


def locked_export(sandbox, monkeypatch, folder, name, call=run, **overrides):
    """An export with the lock beside its configuration, from a folder of its own."""
    for key, value in sandbox.environment().items():
        monkeypatch.setenv(key, value)
    overrides["classes"] = {"lock": "classes.lock.json", **overrides.get("classes", {})}
    text = yaml.safe_dump(settings(sandbox, folder / name, **overrides))
    return call(parse_config(text), search_path=str(folder))


def lock_file(folder):
    return json.loads((folder / "classes.lock.json").read_text())


def shrink(folder, *names):
    """Take the last classes out of the lock, as if the project had not had them."""
    lock = lock_file(folder)
    lock["classes"] = [name for name in lock["classes"] if name not in names]
    (folder / "classes.lock.json").write_text(json.dumps(lock))
    return lock["classes"]


def test_a_second_export_has_the_numbers_of_the_first(tidy, tmp_path, monkeypatch):
    """The first is of half the records under another order; the second of all of them, with a class more."""
    order = {"order": ["scooter", "lane"]}
    locked_export(tidy, monkeypatch, tmp_path, "first", filter=first_half(tidy), classes=order)
    first = ids(tmp_path / "first")
    assert list(first)[:2] == ["scooter", "lane"]
    assert lock_file(tmp_path)["classes"] == list(first)
    kept = shrink(tmp_path, "night")
    locked_export(tidy, monkeypatch, tmp_path, "second")
    second = ids(tmp_path / "second")
    assert list(second) == [*kept, "night"]
    assert {entry["source"] for entry in summary(tmp_path / "second")["classes"]} == {"lock", "project"}
    assert (
        "classes that are not locked: night; they come after those in classes.lock.json"
        in (summary(tmp_path / "second")["warnings"])
    )
    assert lock_file(tmp_path)["classes"] == list(second)
    assert lock_file(tmp_path)["skeletons"]["person"][0] == "nose"
    assert {path.name for path in tmp_path.iterdir()} == {"classes.lock.json", "first", "second"}
    # The numbers in the labels are those of the first export, too, and the lock has them.
    for name in ("first", "second"):
        instances = json.loads((tmp_path / name / "annotations/instances_train.json").read_text())
        named = [category["name"] for category in instances["categories"]]
        assert named == lock_file(tmp_path)["trees"]["coco/instances"][: len(named)]
        assert [category["id"] for category in instances["categories"]] == list(range(1, len(named) + 1))


def test_a_class_only_the_data_has_is_refused_before_anything_is_published(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "first")
    shrink(tmp_path, "scooter")
    before = (tmp_path / "classes.lock.json").read_bytes()
    for call in (forecast, run):
        with pytest.raises(ConfigError, match="classes that are not locked: scooter; nothing was published"):
            locked_export(tidy, monkeypatch, tmp_path, "second", call, classes={"drift": "error"})
    assert not (tmp_path / "second/_SUCCESS.json").exists()
    assert not (tmp_path / "second/images").exists()
    assert (tmp_path / "classes.lock.json").read_bytes() == before
    # What the message says helps.
    lock = lock_file(tmp_path)
    (tmp_path / "classes.lock.json").write_text(json.dumps(lock | {"classes": [*lock["classes"], "scooter"]}))
    locked_export(tidy, monkeypatch, tmp_path, "second", classes={"drift": "error"}, on_existing="overwrite")
    assert ids(tmp_path / "second")["scooter"] == len(lock["classes"])


@pytest.mark.parametrize("call", [forecast, run])
def test_drift_that_the_configuration_shows_is_refused_before_any_work(tidy, tmp_path, monkeypatch, call):
    locked_export(tidy, monkeypatch, tmp_path, "first")
    tidy.clear_requests()
    with pytest.raises(ConfigError, match="'bus' was 'bus', rename and drop make it nothing"):
        locked_export(tidy, monkeypatch, tmp_path, "second", call, classes={"drop": ["bus"]})
    assert not [entry for entry in tidy.requests() if "ordering" in entry["query"]]
    assert not (tmp_path / "second/metadata").exists()


def test_an_export_is_not_removed_for_one_that_drifts(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "out")
    before = digest(tmp_path / "out")
    with pytest.raises(ConfigError, match="classes would drift"):
        locked_export(tidy, monkeypatch, tmp_path, "out", classes={"drop": ["bus"]}, on_existing="overwrite")
    assert digest(tmp_path / "out") == before


def test_drift_can_be_allowed(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "first")
    locked_export(tidy, monkeypatch, tmp_path, "second", classes={"drop": ["bus"], "drift": "allow"})
    assert ids(tmp_path / "second") == ids(tmp_path / "first")
    assert lock_file(tmp_path)["drop"] == ["bus"]
    assert summary(tmp_path / "second")["formats"]["coco"]["annotations"]["skipped"]["CLASS_DROPPED"] > 0


def test_the_lock_is_read_once_and_frozen(tidy, tmp_path, monkeypatch):
    """An export that is continued has the numbers it began with, whatever the file says by then."""
    locked_export(tidy, monkeypatch, tmp_path, "first", classes={"order": ["lane"]})
    lock = (tmp_path / "classes.lock.json").read_bytes()
    locked_export(tidy, monkeypatch, tmp_path, "golden")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.sequence.make_catalog", lambda *_, **__: pytest.fail("stopped here"))
        with pytest.raises(pytest.fail.Exception, match="stopped here"):
            locked_export(tidy, monkeypatch, tmp_path, "out")
    other = {"version": 1, "classes": ["moon"], "rename": {}, "drop": [], "skeletons": {}}
    (tmp_path / "classes.lock.json").write_text(json.dumps(other))
    messages = Messages()
    locked_export(tidy, monkeypatch, tmp_path, "out", lambda *a, **k: run(*a, listener=messages, **k))
    assert digest(tmp_path / "out") == digest(tmp_path / "golden")
    assert lock_file(tmp_path) == other
    assert "classes.lock.json has changed meanwhile and was not updated" in messages.told
    assert json.loads(lock)["classes"] == list(ids(tmp_path / "out"))


def test_a_lock_does_not_change_a_first_export(tidy, tmp_path, monkeypatch):
    export(tidy, tmp_path / "plain")
    locked_export(tidy, monkeypatch, tmp_path, "locked")
    assert digest(tmp_path / "locked") == digest(tmp_path / "plain")


def test_a_lock_at_a_url(tidy, tmp_path, monkeypatch):
    for name in ("a", "b"):
        locked_export(tidy, monkeypatch, tmp_path, name, classes={"lock": "memory://locks/my.json"})
    assert {entry["source"] for entry in summary(tmp_path / "b")["classes"]} == {"lock"}
    assert ids(tmp_path / "a") == ids(tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_the_lock_of_an_export_serves_the_next(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "first", classes={"order": ["lane"]})
    own = tmp_path / "first/metadata/classes.lock.json"
    assert own.read_bytes() == (tmp_path / "classes.lock.json").read_bytes()
    shutil.copy(own, tmp_path / "other.json")
    locked_export(tidy, monkeypatch, tmp_path, "second", classes={"lock": "other.json"})
    assert ids(tmp_path / "second") == ids(tmp_path / "first")


def test_a_run_killed_before_it_saved_the_lock_saves_it_when_run_again(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "out")
    lock = (tmp_path / "classes.lock.json").read_bytes()
    (tmp_path / "classes.lock.json").unlink()
    assert locked_export(tidy, monkeypatch, tmp_path, "out").already_finished
    assert (tmp_path / "classes.lock.json").read_bytes() == lock


def detect_names(path, folder=""):
    return list(yaml.safe_load((path / folder / "data.yaml").read_text())["names"].values())


def rows_by_name(path, folder=""):
    """How many rows each class of a tree has, by the name that a reader finds."""
    names, found = detect_names(path, folder), {}
    for file in (path / folder / "labels").rglob("*.txt"):
        for row in file.read_text().splitlines():
            name = names[int(row.split()[0])]
            found[name] = found.get(name, 0) + 1
    return found


def test_each_tree_of_an_export_has_its_own_classes_and_keeps_them(tidy, tmp_path, monkeypatch):
    """No names of keypoints or of whole images among the boxes, nothing dropped for that, and the pose tree is full."""
    formats = ["yolo", {"yolo": {"task": "pose"}}, {"yolo": {"task": "segment"}}]
    locked_export(tidy, monkeypatch, tmp_path, "first", filter=first_half(tidy), formats=formats)
    first = tmp_path / "first"
    assert not {"nose", "left_eye", "night"} & {*detect_names(first), *detect_names(first, "segment")}
    assert {"nose", "night"} <= set(ids(first))
    assert rows_by_name(first)
    assert rows_by_name(first, "pose")
    lock = lock_file(tmp_path)
    assert lock["trees"] == {
        "yolo/detect": detect_names(first),
        "yolo_segment/segment": detect_names(first, "segment"),
    }
    assert list(lock["objects"]) == list(lock["skeletons"])
    assert detect_names(first, "pose") == next(iter(lock["objects"].values()))

    # What the first export had under a number keeps it, also where it may not occur any more, or in an option's rows.
    lock["trees"]["yolo/detect"] = [*reversed(lock["trees"]["yolo/detect"]), "nose"]
    (tmp_path / "classes.lock.json").write_text(json.dumps(lock))
    chosen = ["csv", {"yolo": {"boxes_from": ["polygon", "mask"]}}]
    locked_export(tidy, monkeypatch, tmp_path, "second", formats=chosen)
    second = detect_names(tmp_path / "second")
    assert second[: len(lock["trees"]["yolo/detect"])] == lock["trees"]["yolo/detect"]
    assert set(second) > set(lock["trees"]["yolo/detect"])
    assert lock_file(tmp_path)["trees"] == lock["trees"] | {"yolo/detect": second}
    warnings = summary(tmp_path / "second")["warnings"]
    assert any(text.startswith("classes of yolo/detect that are not locked: ") for text in warnings)
    counted = {entry["name"]: sum(entry["objects"].values()) for entry in summary(tmp_path / "second")["classes"]}
    assert all(0 < number <= counted[name] for name, number in rows_by_name(tmp_path / "second").items())


def test_a_class_that_is_new_in_a_locked_tree_is_drift(tidy, tmp_path, monkeypatch):
    locked_export(tidy, monkeypatch, tmp_path, "first", formats=["yolo"])
    more = {"formats": [{"yolo": {"boxes_from": ["polygon"]}}], "classes": {"drift": "error"}}
    with pytest.raises(ConfigError, match=r"classes of yolo/detect that are not locked: .*; nothing was published"):
        locked_export(tidy, monkeypatch, tmp_path, "second", **more)


def test_a_lock_of_an_earlier_version_keeps_every_number(tidy, tmp_path, monkeypatch):
    """Every tree had all classes then, so all of them stay; one that is told to begin anew does not have them."""
    locked_export(tidy, monkeypatch, tmp_path, "now", formats=["yolo"])
    old = {key: value for key, value in lock_file(tmp_path).items() if key not in ("trees", "objects")}
    (tmp_path / "classes.lock.json").write_text(json.dumps(old))
    locked_export(tidy, monkeypatch, tmp_path, "old", formats=["yolo", "coco"])
    assert detect_names(tmp_path / "old") == old["classes"]
    assert lock_file(tmp_path)["trees"]["*"] == old["classes"]
    assert rows_by_name(tmp_path / "old") == rows_by_name(tmp_path / "now")
    (tmp_path / "classes.lock.json").write_text(json.dumps(old | {"trees": {}}))
    locked_export(tidy, monkeypatch, tmp_path, "anew", formats=["yolo"])
    assert detect_names(tmp_path / "anew") == detect_names(tmp_path / "now")
    assert len(detect_names(tmp_path / "anew")) < len(old["classes"])
