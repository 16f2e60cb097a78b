"""Laws of reading documents: never raise, account for everything, agree with each other and with the Synapse SDK."""

import json

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from synapse_sdk.utils.converters.dm import convert_v1_to_v2

from pipeline.records import Box, File, Mask, Point, Polygon, Polyline, Relation, Sample, Whole
from pipeline.synapse.documents import parsing as documents
from pipeline.synapse.documents.bounds import reason_unreadable
from pipeline.synapse.documents.fast import read_well_formed
from pipeline.synapse.documents.json_fields import read_fields
from pipeline.synapse.documents.parsing import parse_document
from pipeline.synapse.documents.samples import build_samples

WIDTH, HEIGHT = 40, 30


def examples(count):
    return settings(max_examples=count)


number = st.one_of(st.integers(-5000, 5000), st.floats(-1e6, 1e6))
length = st.one_of(st.integers(1, 5000), st.floats(1e-3, 1e6))
words = st.one_of(st.sampled_from(["car", "가로수", "é", "a b", "Person"]), st.text("abc한é", min_size=1, max_size=5))
vertex = st.fixed_dictionaries({"x": number, "y": number}, optional={"id": words})
leaf = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6))
any_json = st.recursive(
    leaf, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
attributes = st.dictionaries(
    st.sampled_from(["color", "occluded", "tags", "note"]),
    st.one_of(words, st.booleans(), st.integers(-(2**63), 2**63), st.lists(words, max_size=3), st.none()),
    max_size=3,
)


@st.composite
def masks(draw):
    indices = draw(st.lists(st.integers(0, WIDTH * HEIGHT - 1), min_size=1, max_size=30, unique=True))
    if draw(st.booleans()):
        return {"pixel_indices": indices, "isCompressed": False, "compressionFormat": None}
    runs = [[index, 1] for index in sorted(indices)]
    return {"pixel_indices": draw(st.permutations(runs)), "isCompressed": True, "compressionFormat": "rle"}


def is_open(points):
    return (points[0]["x"], points[0]["y"]) != (points[-1]["x"], points[-1]["y"])


geometry = {
    "bounding_box": st.fixed_dictionaries(
        {"coordinate": st.fixed_dictionaries(
            {"x": number, "y": number, "width": length, "height": length}, optional={"rotation": st.floats(-4, 4)}
        )}
    ),
    "polygon": st.fixed_dictionaries({"coordinate": st.lists(vertex, min_size=3, max_size=6).filter(is_open)}),
    "polyline": st.fixed_dictionaries({"coordinate": st.lists(vertex, min_size=2, max_size=5)}),
    "keypoint": st.fixed_dictionaries({"coordinate": st.fixed_dictionaries({"x": number, "y": number})}),
    "segmentation": masks(),
    "classification": st.just({}),
    "relation": st.fixed_dictionaries({"annotationId": words, "targetAnnotationId": words}),
}  # fmt: skip
things = st.sampled_from(list(geometry)).flatmap(
    lambda tool: st.tuples(st.just(tool), geometry[tool], words, attributes)
)


@st.composite
def valid_documents(draw):
    """DM v1 documents as the platform writes them, entries in another order than annotations."""
    document = {"extra": {}, "annotations": {}, "annotationsData": {}, "relations": {}, "annotationGroups": {}}
    for media in draw(st.lists(st.sampled_from(["image_1", "image_2", "image_10"]), unique=True, max_size=2)):
        annotations, entries = [], []
        for index, (tool, entry, label, others) in enumerate(draw(st.lists(things, max_size=6))):
            classification = {"class": label, **others}
            if tool == "keypoint" and draw(st.booleans()):
                classification["visibility"] = draw(st.sampled_from(["missing", "occluded", "visible", 0, 1, 2]))
            annotations.append({"id": f"{media}-{index}", "tool": tool, "classification": classification})
            entries.append({"id": f"{media}-{index}", **entry})
        points = [annotation["id"] for annotation in annotations if annotation["tool"] == "keypoint"]
        document["extra"][media] = {"width": WIDTH, "height": HEIGHT}
        document["annotations"][media] = annotations
        document["annotationsData"][media] = draw(st.permutations(entries))
        document["relations"][media] = []
        document["annotationGroups"][media] = [{"id": f"g-{media}", "annotationIds": points}] if points else []
    return document


@st.composite
def spoiled_documents(draw):
    """Valid documents in which some values anywhere were replaced, repeated or taken away."""
    document = draw(valid_documents())
    for _ in range(draw(st.integers(1, 4))):
        parent, key, value = None, None, document
        while isinstance(value, dict | list) and value and (parent is None or draw(st.integers(0, 4))):
            parent = value
            key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
            value = parent[key]
        if parent is None:
            continue
        change = draw(st.sampled_from(["replace", "remove", "repeat"]))
        if change == "remove":
            del parent[key]
        elif change == "repeat" and isinstance(parent, list):
            parent.append(value)
        else:
            parent[key] = draw(any_json)
    return document


def as_bytes(document):
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


files = st.lists(
    st.builds(
        File,
        spec=st.sampled_from(["", "image_1", "image_2", "image", "data_meta_1", "video_1", "x"]),
        kind=st.sampled_from(["image", "video", "data", ""]),
        primary=st.booleans(),
        width=st.sampled_from([None, 8, 640]),
        height=st.sampled_from([None, 6, 480]),
    ),
    max_size=4,
)


def assert_accounted(data, listed):
    document = parse_document(data)
    samples, failures = build_samples(7, document, listed)
    assert document.seen == sum(len(s.annotations) for s in samples) + sum(1 for f in failures if f.media)
    assert [sample.ordinal for sample in samples] == list(range(len(samples)))
    assert all(failure.record_id == 7 for failure in failures)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(samples), type=list[Sample]) == samples, "they can be staged"
    return document


@examples(500)
@given(st.binary(max_size=80), files)
def test_no_bytes_raise(data, listed):
    assert_accounted(data, listed)


@examples(300)
@given(any_json, files)
def test_no_json_raises(value, listed):
    assert_accounted(as_bytes(value), listed)


names = [
    "annotations", "annotationsData", "extra", "relations", "annotationGroups", "images", "videos", "annotation_data",
    "annotation_meta", "mode", "data", "bounding_box", "segmentation", "image_1", "id", "tool", "type",
    "classification", "class", "attrs", "name", "value", "coordinate", "pixel_indices", "x", "y",
]  # fmt: skip
dm_like_json = st.recursive(
    st.one_of(leaf, st.sampled_from(["inline", "bounding_box", "keypoint", "relation", "a"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(names), inner, min_size=1, max_size=5)
    ),
    max_leaves=30,
)


@examples(500)
@given(dm_like_json, files)
def test_nothing_that_looks_like_a_document_raises(value, listed):
    assert_accounted(as_bytes(value), listed)


def items(value):
    return value if isinstance(value, list) else []


def identifier(item):
    """An annotation's id as we take it: a text, or a whole number as text."""
    found = item.get("id") if isinstance(item, dict) else None
    return str(found) if isinstance(found, str) or (type(found) is int and found >= 0) else ""


def count_seen(document):
    """Annotations, relations, and entries that belong to none of them: counted from the JSON alone."""
    keys = list(document["annotations"]) + [key for key in document["relations"] if items(document["relations"][key])]
    seen = 0
    for key in {*keys, *document["annotationsData"]}:
        lists = [document["annotations"].get(key, [])] if key in keys else []
        lists += [document["relations"].get(key, [])] if key in keys else []
        lists = [entries for entries in lists if entries is not None]
        seen += sum(len(entries) if isinstance(entries, list) else 1 for entries in lists)
        known = {identifier(item) for entries in lists for item in items(entries)} - {""}
        entries = document["annotationsData"].get(key)
        seen += entries is not None and not isinstance(entries, list)
        found = [identifier(entry) for entry in items(entries)]
        seen += len(found) - len(known & set(found))
    return seen


@examples(500)
@given(spoiled_documents(), files)
def test_every_annotation_of_a_spoiled_document_is_accounted_for(document, listed):
    read = assert_accounted(as_bytes(document), listed)
    sections = ("annotations", "annotationsData", "relations")
    if read.kind in ("v1", "flat", "empty") and all(isinstance(document.get(name), dict) for name in sections):
        assert read.seen == count_seen(document)


@examples(300)
@given(valid_documents())
def test_both_readers_agree_on_well_formed_documents(document):
    data = as_bytes(document)
    tolerant = documents._detect(read_fields(data))
    assert all(not media.failures for media in tolerant.media)
    quick = read_well_formed(data)
    if any(annotation["tool"] == "relation" for media in document["annotations"].values() for annotation in media):
        assert quick is None
    elif all(-(2**63) <= value < 2**64 for value in whole_numbers(document)):
        assert quick is not None
        assert parse_document(data) == tolerant


@examples(500)
@given(spoiled_documents())
def test_whatever_the_quick_reader_accepts_the_tolerant_one_reads_alike(document):
    data = as_bytes(document)
    if not reason_unreadable(data) and read_well_formed(data) is not None:
        assert parse_document(data) == documents._detect(read_fields(data))


def whole_numbers(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from whole_numbers(inner)
    elif isinstance(value, int):
        yield value


def as_sdk(annotation):
    """One of our annotations as the SDK's converter writes it."""
    shape = annotation.shape
    item = {"id": annotation.id, "classification": annotation.label}
    attrs = [{"name": name, "value": value} for name, value in annotation.attributes.items()]
    match shape:
        case Box():
            item["data"] = [shape.x, shape.y, shape.width, shape.height]
            if shape.rotation:
                attrs.insert(0, {"name": "rotation", "value": shape.rotation})
        case Polygon() | Polyline():
            item["data"] = [list(pair) for pair in zip(shape.points[0::2], shape.points[1::2], strict=True)]
        case Point():
            item |= {"data": [shape.x, shape.y], "visibility": shape.visibility}
        case Mask():
            item["data"] = shape.runs
        case Relation():
            item["data"] = [shape.source, shape.target]
        case Whole():
            item["data"] = {}
    return {**item, "attrs": attrs, **({"group_id": annotation.group} if annotation.group else {})}


def as_ours(item, tool):
    """An item of the SDK's converter without what is only another way to say the same."""
    item = {
        name: value for name, value in item.items() if name not in ("encoding", "isCompressed", "compressionFormat")
    }
    if tool == "keypoint":
        item.setdefault("visibility", 2)
    if tool == "segmentation":
        pixels = [pair[0] if isinstance(pair, list) else pair for pair in item["data"]]
        breaks = [i for i in range(len(pixels)) if not i or pixels[i] != pixels[i - 1] + 1]
        pairs = [[pixels[i], j - i] for i, j in zip(breaks, [*breaks[1:], len(pixels)], strict=True)]
        item["data"] = np.array(pairs, dtype="<i8").tobytes()
    if tool == "bounding_box":
        item["attrs"] = [a for a in item["attrs"] if a["name"] != "rotation" or a["value"]]
    return {**item, "classification": item["classification"].strip()}


@examples(300)
@given(valid_documents())
def test_well_formed_documents_say_the_same_as_with_the_sdk(document):
    converted = convert_v1_to_v2(json.loads(json.dumps(document)))["annotation_data"]
    ours = parse_document(as_bytes(document))
    images = converted.get("images", [])
    assert len(images) == len(ours.media)
    for image, media in zip(images, ours.media, strict=True):
        theirs = {item["id"]: (tool, as_ours(item, tool)) for tool, found in image.items() for item in found}
        assert theirs == {annotation.id: (annotation.tool, as_sdk(annotation)) for annotation in media.annotations}


@examples(200)
@given(valid_documents())
def test_a_document_the_sdk_converted_reads_as_before(document):
    converted = convert_v1_to_v2(json.loads(json.dumps(document)))
    before, after = parse_document(as_bytes(document)), parse_document(as_bytes(converted))
    assert [(m.key, m.width, m.height) for m in after.media] == [(m.key, m.width, m.height) for m in before.media]
    for one, other in zip(before.media, after.media, strict=True):
        assert {a.id: a for a in other.annotations} == {a.id: a for a in one.annotations}
