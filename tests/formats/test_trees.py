"""A tree of labels has the classes that can occur in it, and a number always means the same name."""

import json

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.class_lock import ClassLock, decode_lock, lock_document
from pipeline.formats import load_format
from pipeline.formats.testing import join_samples, samples
from pipeline.formats.testing.shapes import box, mask, point, polygon, rectangles
from pipeline.model.catalog import ShardSummary, build_catalog, count_parts
from pipeline.model.labels import configured_tools
from pipeline.model.trees import count_shapes
from pipeline.records import Annotation, Opaque, Polyline, Relation, Whole

WIDTH, HEIGHT = 60, 40
SHAPES = {
    "box": box("", "", 4.0, 5.0, 10.0, 8.0).shape,
    "mask": mask(rectangles((5, 5, 25, 20, 1))),
    "opaque": Opaque(b"{}"),
    "point": point("", "", 3, 4).shape,
    "polygon": polygon("", "", 2, 2, 30, 2, 30, 30).shape,
    "polyline": Polyline((1.0, 1.0, 20.0, 20.0)),
    "relation": Relation("a", "b"),
    "whole": Whole(),
}
HELD = {"detect": {"box"}, "obb": {"box"}, "segment": {"polygon", "mask"}, "instances": {"box", "polygon", "mask"}}
TREES = {task: ("yolo", {"task": task, "folder": "" if task == "detect" else task}) for task in HELD} | {
    "instances": ("coco", {})
}
names = st.sampled_from(["cat", "dog", "nose", "도로", "sunny", "night"])
annotations = st.lists(st.tuples(names, st.sampled_from(sorted(SHAPES))), max_size=8)
configurations = st.dictionaries(
    st.sampled_from(["bounding_box", "polygon", "segmentation", "keypoint", "classification"]),
    st.lists(names, max_size=2),
    max_size=3,
)


def numbered(drawn):
    """One image with these annotations."""
    sample = samples()[1]
    found = tuple(Annotation(str(number), shape, label, SHAPES[shape]) for number, (label, shape) in enumerate(drawn))
    source = msgspec.structs.replace(sample.sample, annotations=found, width=WIDTH, height=HEIGHT)
    return msgspec.structs.replace(sample, sample=source)


def catalog_for(drawn, configuration, lock=None, formats=None, **options):
    """The catalog of one image, with the trees of every format that has some."""
    found = numbered(drawn).sample.annotations
    summary = ShardSummary(1, len(drawn), {}, {"train": 1})
    for annotation in found:
        summary.labels[annotation.label] = summary.labels.get(annotation.label, 0) + 1
    count_shapes(found, summary.shapes)
    count_parts(found, summary.parts)
    trees = {}
    for name, chosen in formats or TREES.values():
        trees |= load_format(name, chosen).trees(options.get("masks", "instance"))
    lock = lock or ClassLock()
    tools = configured_tools({"classification": configuration})
    return build_catalog(
        summary, name="x", configured=tuple(tools), tools=tools, locked=lock.classes, trees=trees,
        locked_trees=lock.numbered_trees, locked_objects=lock.numbered_objects, **options,
    )  # fmt: skip


def names_and_rows(tree, drawn, catalog):
    """The names of a tree and the names that its rows have, both as a reader finds them."""
    name, options = TREES[tree]
    files = join_samples(load_format(name, options), [numbered(drawn)], catalog)
    if tree == "instances":
        content = json.loads(files["annotations/instances_train.json"])
        listed = {category["id"]: category["name"] for category in content["categories"]}
        assert list(listed) == list(range(1, len(listed) + 1))
        assert [(item["id"], item["name"]) for item in json.loads(files["classes.json"])] == list(listed.items())
        return list(listed.values()), [listed[item["category_id"]] for item in content["annotations"]]
    root = f"{options['folder']}/" if options["folder"] else ""
    data = yaml.safe_load(files[f"{root}data.yaml"])
    assert list(data["names"]) == list(range(data["nc"]))
    assert files[f"{root}classes.txt"].decode().splitlines() == list(data["names"].values())
    (rows,) = [text for path, text in files.items() if path.startswith(f"{root}labels/")]
    return list(data["names"].values()), [data["names"][int(row.split()[0])] for row in rows.splitlines()]


TOOLS = {"bounding_box": "box", "segmentation": "mask", "polygon": "polygon"}


@settings(deadline=None)
@given(annotations, configurations, st.lists(names, unique=True, max_size=4))
def test_the_names_of_a_tree_are_the_classes_of_its_rows_and_those_that_are_configured_or_locked(
    drawn, configuration, locked
):
    lock = ClassLock(classes=tuple(locked))
    catalog = catalog_for(drawn, configuration, lock)
    for tree, held in HELD.items():
        found, rows = names_and_rows(tree, drawn, catalog)
        in_rows = [label for label, shape in drawn if shape in held]
        configured = {label for tool, labels in configuration.items() if TOOLS.get(tool) in held for label in labels}
        assert rows == in_rows, tree
        assert found[: len(locked)] == locked
        assert set(found) == {*in_rows, *configured, *locked}
        assert len(set(found)) == len(found)


@settings(deadline=None)
@given(st.lists(st.tuples(annotations, configurations), min_size=2, max_size=4), st.booleans())
def test_a_number_of_a_tree_never_changes_its_name(exports, is_old):
    """Any exports, one after the other, each under the lock of the one before; the first lock may be an old one."""
    lock = ClassLock(classes=("night", "cat")) if is_old else None
    before = dict.fromkeys(HELD, ["night", "cat"] if is_old else [])
    for drawn, configuration in exports:
        catalog = catalog_for(drawn, configuration, lock)
        for tree, held in HELD.items():
            found, rows = names_and_rows(tree, drawn, catalog)
            assert found[: len(before[tree])] == before[tree]
            assert rows == [label for label, shape in drawn if shape in held]
            before[tree] = found
        made = decode_lock(lock_document(catalog), "here")
        assert lock is None or made.extends(lock)
        lock = made


def test_keypoints_and_classes_of_images_are_no_classes_of_boxes():
    drawn = [("dog", "box"), ("cat", "box"), ("nose", "point"), ("tail", "point"), ("sunny", "whole")]
    catalog = catalog_for(drawn, {})
    assert len(catalog.classes) == 5
    assert names_and_rows("detect", drawn, catalog)[0] == ["cat", "dog"]
    assert names_and_rows("instances", drawn, catalog)[0] == ["cat", "dog"]
    assert names_and_rows("segment", drawn, catalog)[0] == []


def test_a_class_that_the_project_has_for_a_tool_is_in_the_trees_of_that_tool_without_data():
    catalog = catalog_for([], {"bounding_box": ["car"], "polygon": ["road", "car"], "keypoint": ["nose"]})
    assert {tree: names_and_rows(tree, [], catalog)[0] for tree in HELD} == {
        "detect": ["car"],
        "obb": ["car"],
        "segment": ["car", "road"],
        "instances": ["car", "road"],
    }


def test_a_class_of_which_nothing_is_known_is_in_every_tree():
    """A name that only the user's order has, a tool of tomorrow: leaving it out would move numbers when it comes."""
    catalog = catalog_for([("dog", "box")], {"lasso": ["sheep"]}, order=["wolf"])
    for tree in HELD:
        assert names_and_rows(tree, [("dog", "box")], catalog)[0][:2] == ["wolf", "sheep"]


def test_a_renamed_class_has_the_shapes_of_both_names():
    catalog = catalog_for([("cat", "box"), ("dog", "polygon")], {}, rename={"cat": "pet", "dog": "pet"})
    assert {tree: names_and_rows(tree, [], catalog)[0] for tree in HELD} == {tree: ["pet"] for tree in HELD}


@pytest.mark.parametrize(("masks", "segment", "instances"), [
    ("instance", ["cat", "dog"], ["cat", "dog"]),
    ("semantic", ["dog"], ["cat", "dog"]),
    ("exclude", ["dog"], ["dog"]),
])  # fmt: skip
def test_a_class_of_masks_is_where_masks_are(masks, segment, instances):
    catalog = catalog_for([("cat", "mask"), ("dog", "polygon")], {}, masks=masks)
    assert names_and_rows("segment", [], catalog)[0] == segment
    assert names_and_rows("instances", [], catalog)[0] == instances


def test_a_class_that_is_drawn_in_a_new_way_gets_the_next_number_of_the_tree():
    first = catalog_for([("cat", "polygon"), ("dog", "box")], {})
    lock = decode_lock(lock_document(first), "here")
    assert lock.trees["yolo/detect"] == ("dog",)
    second = catalog_for([("cat", "box"), ("dog", "box")], {}, lock)
    assert names_and_rows("detect", [], second)[0] == ["dog", "cat"]
    assert second.classes == ("cat", "dog")


def test_a_lock_without_trees_keeps_all_its_classes_in_every_tree_also_in_the_next_lock():
    old = decode_lock(b'{"version": 1, "classes": ["nose", "dog"]}', "here")
    lock = decode_lock(lock_document(catalog_for([("dog", "box")], {}, old, formats=[("csv", {})])), "here")
    assert lock.trees == {"*": ("nose", "dog")}
    catalog = catalog_for([("dog", "box"), ("cat", "box")], {}, lock)
    assert names_and_rows("detect", [], catalog)[0] == ["nose", "dog", "cat"]


def test_a_tree_that_is_not_exported_this_time_keeps_its_numbers():
    lock = decode_lock(lock_document(catalog_for([("dog", "box"), ("cat", "polygon")], {})), "here")
    between = catalog_for([("cat", "box")], {}, lock, formats=[("csv", {})])
    assert decode_lock(lock_document(between), "here").trees == lock.trees
