"""A configuration is checked in full before any work, and every message says where to look."""

import re
from pathlib import Path

import pytest

from pipeline.config.export import ExportConfig
from pipeline.config.loading import load_config, parse_config
from pipeline.config.variables import expand_variables
from pipeline.errors import ConfigError
from pipeline.formats import load_format
from pipeline.synapse.listing.filters import check_filter

ROOT = Path(__file__).parents[2]
MINIMAL = """\
name: a
target: task
filter: {project: 1}
path: ./x
formats: [coco]
"""


def message(text, overrides=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides, source="my.yaml")
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path, monkeypatch):
    for name in re.findall(r"\$\{(\w+)\}", path.read_text()):
        monkeypatch.setenv(name, "1")
    config = load_config(path)
    assert check_filter(config.target, config.filter)
    for entry in config.formats:
        assert load_format(entry.name, entry.options).name == entry.name
    assert expand_variables(config.storage_options, "storage_options") is not None


def test_defaults_are_those_of_the_design():
    config = parse_config(MINIMAL)
    assert config.save_original_file is True
    assert (config.split.by, config.masks, config.naming, config.on_existing) == (
        "none",
        "instance",
        "original",
        "resume",
    )
    assert config.max_failures == 0
    assert (config.run.executor, config.run.shard_size, config.run.keep_staging) == ("auto", 500, False)


def test_an_unknown_key_is_named_with_its_line():
    assert message(MINIMAL + "run:\n  workerz: 2\n").startswith(
        "my.yaml:7: run.workerz: unknown key; did you mean 'workers'?; known keys: executor"
    )


def test_a_key_given_twice_is_rejected_with_both_lines():
    assert message(MINIMAL + "name: b\n") == "my.yaml:6: name: this key is given twice (first on line 1)"


def test_a_nested_key_given_twice_is_rejected():
    assert "run.workers: this key is given twice" in message(MINIMAL + "run: {workers: 1, workers: 2}\n")


def test_all_problems_are_told_at_once():
    text = message("name: ''\ntarget: tusk\nfilter: {project: 1}\npath: x\nformats: []\n")
    assert [line.split(":")[1:3] for line in text.splitlines()] == [["1", " name"], ["2", " target"], ["5", " formats"]]


def test_what_is_not_yaml_is_told_with_its_line():
    assert message("name: [a\ntarget: b\n").startswith("my.yaml:2: not valid YAML")


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n"])
def test_what_is_not_a_mapping_is_refused(text):
    assert "my.yaml" in message(text)


def test_a_missing_file_is_one_line():
    with pytest.raises(ConfigError, match=r"^/no/such\.yaml: cannot read the file: No such file or directory$"):
        load_config("/no/such.yaml")


def test_variables_are_expanded(monkeypatch):
    monkeypatch.setenv("WHERE", "/data")
    assert parse_config(MINIMAL.replace("./x", "${WHERE}/x")).path == "/data/x"


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("WHERE", raising=False)
    expected = "my.yaml:4: path: environment variable WHERE is not set"
    assert message(MINIMAL.replace("./x", "${WHERE}/x")) == expected


def test_storage_options_keep_their_references_until_the_storage_is_opened(monkeypatch):
    monkeypatch.setenv("SECRET", "canary")
    config = parse_config(MINIMAL + "storage_options: {secret: '${SECRET}'}\n")
    assert "canary" not in config.model_dump_json()
    assert expand_variables(config.storage_options, "storage_options") == {"secret": "canary"}


def test_a_secret_in_plain_text_is_refused():
    text = message(MINIMAL + "storage_options: {client_kwargs: {aws_secret_access_key: canary}}\n")
    assert text.startswith(
        "my.yaml:6: storage_options.client_kwargs.aws_secret_access_key: holds a secret in plain text"
    )
    assert "canary" not in text


def test_set_overrides_one_key():
    config = parse_config(MINIMAL, ["run.workers=4", "formats=[yolo]", "filter.status_label=completed"])
    assert config.run.workers == 4
    assert [entry.name for entry in config.formats] == ["yolo"]
    assert config.filter == {"project": 1, "status_label": "completed"}


@pytest.mark.parametrize("override", ["run.workers", "=4", "name.first=a", "run.workers=[", "run..x=1"])
def test_a_malformed_override_is_told(override):
    assert "--set" in message(MINIMAL, [override])


def test_format_may_be_written_in_the_singular():
    assert parse_config(MINIMAL.replace("formats: [coco]", "format: coco")).formats[0].name == "coco"


def test_extra_params_are_options_of_the_formats():
    config = parse_config(MINIMAL + "extra_params: {coco: {box_segmentation: rectangle}}\n")
    assert config.formats[0].options == {"box_segmentation": "rectangle"}
    assert "extra_params.yolo is not one of the requested formats" in message(MINIMAL + "extra_params: {yolo: {}}\n")


def test_the_same_format_twice_is_refused():
    assert "listed twice" in message(MINIMAL.replace("[coco]", "[coco, {coco: {}}]"))


@pytest.mark.parametrize(("limit", "records", "tolerated"), [("0", 10, 0), ("7", 10, 7), ('"0.1%"', 5000, 5)])
def test_the_failure_limit_is_a_number_or_a_share(limit, records, tolerated):
    assert parse_config(f"{MINIMAL}max_failures: {limit}\n").failure_limit(records) == tolerated


@pytest.mark.parametrize("limit", ["-1", '"1 %"', '"101%"', "many"])
def test_a_failure_limit_that_is_neither_is_refused(limit):
    assert "max_failures" in message(f"{MINIMAL}max_failures: {limit}\n")


@pytest.mark.parametrize("ratios", ["{train: 0.8, val: 0.1}", "{train: 1.5, val: -0.5}", "{}"])
def test_ratios_that_do_not_add_up_are_refused(ratios):
    assert "split.ratios" in message(f"{MINIMAL}split: {{by: hash, ratios: {ratios}}}\n")


def test_only_ground_truth_can_be_split_by_category():
    assert "needs target: ground_truth" in message(MINIMAL + "split: {by: category}\n")


@pytest.mark.parametrize(
    "key", ["record", "data_unit", "file_name", "data_unit.meta.video", "document.extra.image_1.a b"]
)
def test_a_split_may_be_by_what_records_have_in_common(key):
    assert parse_config(MINIMAL, [f"split={{by: hash, key: {key}}}"]).split.key == key


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ("{by: hash, key: video}", "must be record, data_unit, file_name, data_unit.<path> or document.<path>"),
        ("{by: hash, key: document}", "must be record"),
        ("{by: hash, key: data_unit.}", "must be record"),
        ("{by: hash, key: data_unit..id}", "must be record"),
        ("{by: hash, key: data_unit.files.image_1.url}", "a URL is signed anew"),
        ("{by: none, key: data_unit}", "key is not looked at with by: none"),
        ("{by: file}", "by: file needs file"),
        ("{by: hash, file: a.csv}", "file is only read with by: file"),
        ("{by: hash, ratios: {Train: 1}}", "should match pattern"),
    ],
)
def test_a_split_that_would_not_do_what_it_says_is_refused(split, problem):
    assert problem in message(f"{MINIMAL}split: {split}\n")


def test_ground_truth_has_no_more_of_a_data_unit_than_its_id():
    text = MINIMAL.replace("task", "ground_truth")
    assert "needs target: task or assignment" in message(text, ["split={by: hash, key: data_unit.meta.video}"])
    assert parse_config(text, ["split={by: hash, key: data_unit}"]).split.groups


def test_a_skeleton_is_described_or_named():
    config = parse_config(MINIMAL + "skeletons: {person: coco_person_17, line: {points: [a, b], edges: [[a, b]]}}\n")
    assert list(config.skeletons) == ["person", "line"]
    assert len(config.skeletons["person"].points) == 17
    assert config.skeletons["line"].edges == (("a", "b"),)
    assert parse_config(MINIMAL).skeletons is None
    assert ExportConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("skeleton", "problem"),
    [
        ("coco_person_18", "the only skeleton with a name of its own is coco_person_17"),
        ("{points: []}", "at least 1 item"),
        ("{points: [a, b, a]}", "'a' is named twice"),
        ("{points: [a, ' a ']}", "'a' is named twice"),
        ("{points: [a, b], edges: [[a, c]]}", "edges names 'c', which is not one of the points"),
        ("{points: [a, b], edges: [[a, a]]}", "'a' is paired with itself"),
        ("{points: [a, b], edges: [[a, b], [b, a]]}", "'a and b' is named twice"),
        ("{points: [a, b, c], flip: [[a, b], [c, a]]}", "'a' is named twice"),
        ("{points: [a, b], flip: [[a, c]]}", "flip names 'c'"),
        ("{points: [a, b], lines: []}", "unknown key; known keys: points, edges, flip"),
    ],
)
def test_a_skeleton_that_is_none_is_refused(skeleton, problem):
    text = message(f"{MINIMAL}skeletons:\n  crane: {skeleton}\n")
    assert text.startswith("my.yaml:7: skeletons.crane")
    assert problem in text


def test_the_lock_of_a_finished_export_is_not_written_to():
    assert "make a copy" in message(MINIMAL + "classes: {lock: old/metadata/classes.lock.json}\n")


def test_identity_leaves_out_what_cannot_change_the_result():
    first = parse_config(MINIMAL).identity()
    same = ["run.workers=4", "run.executor=serial", "max_failures=7", "path=./y", "on_existing=overwrite"]
    assert parse_config(MINIMAL, same).identity() == first
    changes = ["naming=id", "filter.project=2", "save_original_file=false", "masks=exclude", "classes.drop=[a]"]
    changes += ["classes.lock=a.json", "classes.drift=error", "skeletons={}", "empty=drop", "exif=bake"]
    changes += ["split={by: hash, key: data_unit}", "split={by: file, file: a.csv}"]
    for override in changes:
        assert parse_config(MINIMAL, [override]).identity() != first, override


def test_a_model_survives_the_way_to_a_worker():
    config = parse_config(MINIMAL + "classes: {order: [a], rename: {b: a}}\nsplit: {by: hash}\n")
    assert ExportConfig.model_validate(config.model_dump(mode="json")) == config
