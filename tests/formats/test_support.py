"""What formats declare to become of each kind of annotation is what becomes of it."""

import dataclasses
import itertools
import typing

import msgspec
import pytest

from pipeline.errors import ConfigError
from pipeline.formats import FORMATS, Entry, Kind, Loss, Support, load_format
from pipeline.formats.testing import catalog_of, samples

# The annotation of the sample set that stands for each kind.
STANDS_FOR = {
    Kind.BOX: "b2",
    Kind.TURNED_BOX: "t1",
    Kind.BOX_OVER_EDGE: "cut",
    Kind.BOX_OUTSIDE: "outside",
    Kind.POLYGON: "p1",
    Kind.POLYGON_OVER_EDGE: "cut-polygon",
    Kind.POLYGON_OUTSIDE: "outside-polygon",
    Kind.FLAT_POLYGON: "flat-polygon",
    Kind.MASK: "plain",
    Kind.MASK_WITH_HOLE: "holed",
    Kind.MASK_IN_PARTS: "parted",
    Kind.POLYLINE: "l1",
    Kind.SKELETON_POINT: "whole-1",
    Kind.UNGROUPED_POINT: "alone",
    Kind.UNKNOWN_POINT: "unknown-1",
    Kind.WHOLE: "c1",
    Kind.RELATION: "r1",
    Kind.OPAQUE: "o1",
    Kind.DROPPED_CLASS: "d1",
}
MASKS = (Kind.MASK, Kind.MASK_WITH_HOLE, Kind.MASK_IN_PARTS)

# Attributes are tried on the first of these that the format writes at all.
WITH_ATTRIBUTES = (Kind.BOX, Kind.POLYGON, Kind.SKELETON_POINT)

# What else to try than each combination of choices and each switch: options that are numbers.
OTHERS = {
    "coco": [{"shard_images": 1}],
    "yolo": [{"task": "segment", "simplify": 5.0}],
}
# Formats that leave masks of stuff out; what the others do with them is what they do with masks of objects.
WITHOUT_STUFF = {"yolo", "imagefolder"}
# Formats whose records are the platform's own, whatever is chosen here.
UNTOUCHED = {"synapse_json"}


def variants(name):
    """Options of a format: every combination of its choices, each switch in its other position, and OTHERS."""
    factory = type(load_format(name))
    types = typing.get_type_hints(factory)
    options = dataclasses.fields(factory) if dataclasses.is_dataclass(factory) else ()
    choices = {
        option.name: typing.get_args(types[option.name])
        for option in options
        if typing.get_origin(types[option.name]) is typing.Literal
    }
    tried = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    tried += [{option.name: not option.default} for option in options if types[option.name] is bool]
    return [options for options in tried if is_accepted(name, options)] + OTHERS.get(name, [])


def is_accepted(name, options):
    """Whether the options go together; options that would do nothing may be refused."""
    try:
        load_format(name, options)
    except ConfigError:
        return False
    return True


def label(options):
    return "-".join(f"{option}={value}" for option, value in options.items()) or "plain"


VARIANTS = [
    pytest.param(name, options, id=f"{name}-{label(options)}") for name in FORMATS for options in variants(name)
]


def declared(name, options):
    format_ = load_format(name, options)
    return format_, dict(format_.support())


def alone(identity, **attributes):
    """The sample with one annotation (and the rest of its group), which may be given attributes."""
    for sample in samples():
        wanted = [item for item in sample.sample.annotations if item.id == identity]
        if wanted:
            wanted[0].attributes.update(attributes)
            group = wanted[0].group
            kept = tuple(a for a in sample.sample.annotations if a is wanted[0] or (group and a.group == group))
            return msgspec.structs.replace(sample, sample=msgspec.structs.replace(sample.sample, annotations=kept))
    raise AssertionError(f"no annotation of the sample set is called {identity}")


def rendered(format_, kind, catalog, support):
    """What becomes of the annotation that stands for a kind: outcomes and reasons of its losses."""
    if kind is Kind.ATTRIBUTES:
        drawn = next(kind for kind in WITH_ATTRIBUTES if support[kind].outcome != "skipped")
        sample = alone(identity := STANDS_FOR[drawn], colour="red")
    else:
        sample = alone(identity := STANDS_FOR[kind])
    results = list(format_.render(sample, catalog))
    if support[kind].outcome != "skipped":
        assert any(isinstance(result, Entry) for result in results), f"nothing is written of a {kind}"
    return {
        (loss.outcome, str(loss.reason))
        for loss in results
        if isinstance(loss, Loss) and loss.annotation_id == identity
    }


def as_losses(declaration):
    return {(declaration.outcome, str(declaration.reason))} if declaration.outcome != "kept" else set()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_format_declares_what_becomes_of_every_kind(name, options):
    _, support = declared(name, options)
    assert set(support) == set(Kind)
    for declaration in support.values():
        assert (declaration.outcome == "kept") == (not declaration.reason)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("masks", ["instance", "semantic", "exclude"])
def test_what_is_declared_is_what_happens(name, options, masks):
    format_, support = declared(name, options)
    for kind in MASKS:
        if support[kind].reason == "UNSUPPORTED_ANNOTATION_TYPE" or name in UNTOUCHED:
            continue
        if masks == "exclude":
            support[kind] = Support("skipped", "SEGMENTATION_EXCLUDED")
        elif masks == "semantic" and name in WITHOUT_STUFF:
            support[kind] = Support("skipped", "SEMANTIC_SEGMENTATION_UNSUPPORTED")
    catalog = catalog_of(samples(), masks=masks)
    found = {kind: rendered(format_, kind, catalog, support) for kind in Kind}
    assert found == {kind: as_losses(declaration) for kind, declaration in support.items()}
