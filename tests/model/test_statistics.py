"""Statistics: what is counted and found, and that shards add up to the same whatever their sizes."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.records import (
    Annotation,
    Box,
    File,
    Mask,
    NumberedSample,
    Point,
    Polygon,
    Polyline,
    Record,
    Sample,
    Whole,
)
from pipeline.statistics.measuring import Measurer
from pipeline.statistics.totals import Statistics, add_up, chosen_samples, combine

LABELS = ("car", "person", "Car", "sky")
CATALOG = build_catalog(
    ShardSummary(
        samples=8,
        labels=dict.fromkeys((*LABELS, "gone"), 1),
        splits={"train": 5, "val": 3},
        objects={"train": dict.fromkeys(LABELS, 1)},
    ),
    name="test",
    drop=["gone"],
)
BOWTIE = (10.0, 10.0, 60.0, 60.0, 60.0, 10.0, 10.0, 60.0)


def sample(record_id, shapes, *, split="train", size=(100, 80), category=""):
    """A sample whose annotations are pairs of a label and a shape."""
    annotations = tuple(Annotation(str(n), "tool", label, shape) for n, (label, shape) in enumerate(shapes))
    file = File("image_1", "a.jpg", "image")
    source = Sample(record_id, 0, "image_1", "image", *size, file, annotations)
    record = Record(record_id, category)
    return NumberedSample(record, source, record_id, 1, split, f"s{record_id}", f"s{record_id}.jpg")


def measure(samples):
    measurer = Measurer(CATALOG)
    for one in samples:
        measurer.add(one)
    return measurer.finish()


def _from(start, samples):
    """The samples as those of other records."""
    replace = msgspec.structs.replace
    return [replace(one, sample=replace(one.sample, record_id=start + n)) for n, one in enumerate(samples)]


def encoded(statistics):
    return b"".join(add_up(iter([msgspec.json.encode(statistics)])))


sides = st.sampled_from([0.5, 3.0, 20.0, 40.0, 64.0, 96.0, 100.0, 130.0])
shapes = st.one_of(
    st.builds(Box, sides, sides, sides, sides, st.sampled_from([0.0, 0.5])),
    st.sampled_from([Polygon(BOWTIE), Polyline((0.0, 5.0, 50.0, 5.0)), Point(3.0, 4.0, 1), Whole()]),
)
samples = st.lists(
    st.builds(
        lambda found, split, category: (found, split, category),
        st.lists(st.tuples(st.sampled_from((*LABELS, "gone")), shapes), max_size=6),
        st.sampled_from(["train", "val"]),
        st.sampled_from(["", "cat"]),
    ),
    max_size=12,
).map(
    lambda rows: [sample(n, found, split=split, category=category) for n, (found, split, category) in enumerate(rows)]
)


@settings(max_examples=30)
@given(samples, st.lists(st.integers(0, 12), max_size=4), st.randoms())
def test_shards_of_any_sizes_in_any_order_add_up_to_the_same(samples, cuts, random):
    bounds = [0, *sorted(cuts), len(samples)]
    shards = [measure(samples[start:end]) for start, end in pairwise(bounds)]
    random.shuffle(shards)
    lines = b"".join(msgspec.json.encode(shard) + b"\n" for shard in shards)
    pieces = (lines[start : start + 1000] for start in range(0, len(lines), 1000))
    assert b"".join(add_up(pieces)) == encoded(measure(samples))


@settings(max_examples=15)
@given(samples, samples, samples)
def test_the_sum_is_associative_and_commutative_with_a_zero(one, two, three):
    a, b, c = (measure(_from(start, part)) for start, part in ((0, one), (100, two), (200, three)))
    assert combine(combine(a, b), c) == combine(a, combine(b, c))
    assert combine(a, b) == combine(b, a)
    assert combine(a, Statistics()) == a


def test_objects_are_counted_by_class_split_and_size():
    found = measure(
        [
            sample(1, [("car", Box(0, 0, 10, 10)), ("car", Box(10, 10, 32, 32)), ("gone", Box(0, 0, 9, 9))]),
            sample(2, [("car", Box(0, 0, 100, 95))], size=(200, 200)),
            sample(3, [("sky", Whole()), ("person", Point(1, 1, 2)), ("person", Point(1, 1, 0))], split="val"),
        ]
    )
    car = found.classes["car"]["train"]
    assert (car.images, car.objects, car.small, car.medium, car.large) == (2, 3, 1, 1, 1)
    sky = found.classes["sky"]["val"]
    assert (sky.images, sky.objects, sky.small + sky.medium + sky.large) == (1, 1, 0)
    assert set(found.classes) == {"car", "sky"}
    assert found.images == {"train": 2, "val": 1}
    assert found.per_image == {"train": {1: 1, 2: 1}, "val": {1: 1}}
    assert found.points == {"person": [1, 0, 1]}
    assert found.kinds == {"box": 3, "point": 2, "whole image": 1}
    assert found.sizes == {"64x64": 2, "128x128": 1}
    assert found.formats == {"JPEG": 3}
    assert sum(found.positions) == sum(found.sides) == sum(found.aspects) == 3
    # The centre (5, 5) of the first box in an image of 100 x 80.
    assert found.positions[2 * 32 + 1] == 1


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("tiny_box", [("car", Box(5, 5, 3, 30))]),
        ("whole_image_box", [("car", Box(-2, 0, 102, 80))]),
        ("duplicate_annotation", [("car", Box(5, 5, 30, 30)), ("sky", Box(5, 5, 30, 30)), ("car", Box(5, 5, 30, 30))]),
        ("crossing_polygon", [("car", Polygon(BOWTIE))]),
        ("outside_image", [("car", Box(120, 5, 30, 30))]),
        ("empty_image", []),
        ("empty_image", [("gone", Box(5, 5, 30, 30))]),
    ],
)
def test_each_finding_is_found_with_its_records_and_nothing_else_is(name, shapes):
    sound = [("car", Box(5, 5, 30, 30, 0.4)), ("car", Box(5, 5, 30, 30)), ("sky", Polygon(BOWTIE[:6]))]
    found = measure([sample(7, sound), *(sample(100 - n, shapes) for n in range(30)), sample(8, sound)])
    assert set(found.findings) == {name}
    assert found.findings[name].count == 30
    assert found.findings[name].records == list(range(71, 91))


def test_masks_are_measured_by_their_pixels():
    runs = b"".join(n.to_bytes(8, "little") for n in (205, 10, 305, 10))
    found = measure([sample(1, [("car", Mask(runs))])])
    assert found.classes["car"]["train"].small == 1
    assert found.sides[4] == 1  # 10 x 2 pixels: the side of a square of 20, between 4 and 5.66


def test_every_class_is_drawn_once_where_there_is_room():
    usual = [sample(n, [("car", Box(5, 5, 30, 30))]) for n in range(400)]
    rare = [sample(1000 + n, [(label, Box(5, 5, 30, 30))]) for n, label in enumerate(("person", "Car", "sky"))]
    chosen = chosen_samples(measure([*usual, *rare]))
    assert len(chosen) == 24
    assert {1000, 1001, 1002} <= {one.record_id for one in chosen}
    assert {label for one in chosen for label in one.labels} == {"car", "person", "Car", "sky"}


def test_what_is_drawn_of_a_sample_is_bounded():
    ring = tuple(float(n % 90) for n in range(2_000))
    (drawn,) = measure([sample(1, [("car", Polygon(ring))] * 100)]).samples
    assert drawn.hidden == 40
    assert len(msgspec.json.encode(drawn)) < 40_000
