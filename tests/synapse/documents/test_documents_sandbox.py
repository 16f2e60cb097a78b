"""Every malformation the sandbox knows is read as the sandbox says it should be, with its neighbours unharmed."""

import numpy as np
import pytest

from pipeline.reasons import Reason
from pipeline.records import Box, File, Mask, Opaque, Point, Polygon, Polyline, Relation, Whole
from pipeline.sandbox.bench import bench_inline, bench_scene
from pipeline.sandbox.documents import blob_json, inline_json
from pipeline.sandbox.nasty import NASTY_KINDS, nasty_record
from pipeline.sandbox.records import record_rng
from pipeline.synapse.documents.parsing import parse_document
from pipeline.synapse.documents.samples import build_samples


def files_of(record):
    """What the source makes of the sandbox's file infos."""
    return [
        File(
            file.spec,
            file.info.get("file_name_original") or "",
            file.info.get("file_type", ""),
            bool(file.info.get("is_primary")),
            (file.info.get("meta") or {}).get("width"),
            (file.info.get("meta") or {}).get("height"),
        )
        for file in record.files or ()
    ]


def described(shape):
    """A shape in the sandbox's terms."""
    match shape:
        case Box():
            return (shape.x, shape.y, shape.width, shape.height, shape.rotation)
        case Polygon() | Polyline():
            return tuple(zip(shape.points[0::2], shape.points[1::2], strict=True))
        case Point():
            return (shape.x, shape.y, shape.visibility)
        case Mask():
            return tuple(map(tuple, np.frombuffer(shape.runs, "<i8").reshape(-1, 2).tolist()))
        case Relation():
            return (shape.source, shape.target)
        case Whole():
            return None
        case Opaque():
            return "opaque"


def expected_of(thing):
    return "opaque" if isinstance(thing.geometry, dict) else thing.geometry


def assert_as_told(scenes, samples, failures):
    by_media = {sample.media: sample for sample in samples}
    for scene in scenes:
        found = {
            annotation.id: (
                annotation.tool,
                annotation.label,
                described(annotation.shape),
                annotation.attributes,
                annotation.group,
            )
            for annotation in by_media[scene.media].annotations
        }
        assert found == {
            thing.id: (thing.tool, thing.label.strip(), expected_of(thing), thing.attributes, thing.group)
            for thing in scene.things
        }
        reasons = {failure.annotation_id: failure.reason for failure in failures if failure.media == scene.media}
        assert reasons == scene.faulty


@pytest.mark.parametrize("kind", NASTY_KINDS)
@pytest.mark.parametrize("write", [inline_json, blob_json])
def test_a_record_with_trouble_is_read_as_the_sandbox_says(kind, write):
    record = nasty_record(record_rng(3, 1), 1, 1, 77, (640, 480), [kind])
    document = parse_document(write(record.document, record.literals))
    samples, failures = build_samples(1, document, files_of(record))
    if record.readable:
        assert_as_told(record.scenes, samples, failures)
        annotation_failures = [failure for failure in failures if failure.media and failure.outcome != "corrected"]
        assert document.seen == sum(len(sample.annotations) for sample in samples) + len(annotation_failures)
    else:
        assert not any(sample.annotations for sample in samples)
        assert document.kind in ("null", "opaque")
        assert not samples or failures[0].reason == Reason.UNSUPPORTED_DOCUMENT


def test_the_documents_of_the_benchmark_are_read_as_drawn():
    for index in range(25):
        document = parse_document(b"".join(bench_inline(5, index, 1)))
        samples, failures = build_samples(1, document, [File("image_1", "a.jpg", "image")])
        assert_as_told([bench_scene(5, index)], samples, failures)
