"""Whole documents: which dialect, which media, which files; and bytes that are no document at all."""

import json

import pytest

from pipeline.images.files import Header
from pipeline.reasons import Reason
from pipeline.records import File
from pipeline.synapse.documents.bounds import MAX_DEPTH, MAX_DIGITS
from pipeline.synapse.documents.fast import read_well_formed
from pipeline.synapse.documents.samples import build_samples, with_header
from synapse.documents.cases import BOX, GOOD_BOX, TRIANGLE, only, parse, thing, v1, v2


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (None, "null"),
        ({}, "null"),
        ([], "null"),
        ("", "null"),
        ([1], "opaque"),
        ("text", "opaque"),
        (5, "opaque"),
        ({"schema": "any", "transcript": "x"}, "opaque"),
        ({"annotations": None}, "opaque"),
        ({"annotations": [1]}, "opaque"),
        ({"images": {}}, "opaque"),
        ({"annotations": {}, "annotationsData": {}}, "empty"),
        ({"annotations": {"image_1": []}, "annotationsData": {"image_1": []}}, "empty"),
        ({"annotations": {"image_1": []}}, "empty"),
        (v1(GOOD_BOX), "v1"),
        (v2("bounding_box", data=[1, 2, 3, 4]), "v2"),
        ({"classification": {}, "images": []}, "v2"),
        ({"annotation_data": {"classification": {}}, "annotation_meta": {}}, "v2"),
        ({"annotation_data": v2("bounding_box", data=[1, 2, 3, 4])}, "v2"),
        ({"mode": "inline", "data": v1(GOOD_BOX)}, "v1"),
        ({"mode": "inline", "data": None}, "null"),
        ({"mode": "review", **v1(GOOD_BOX)}, "v1"),
        ({"images": [], **v1(GOOD_BOX)}, "v1"),
    ],
)
def test_the_dialect_is_told_from_the_document(document, kind):
    parsed = parse(document)
    assert parsed.kind == kind
    assert parsed.failures == ()


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b"<html>", b"\xff\xfe", b'{"a": "\xff"}', b"{}x", b"NaN", b'{"annotations": {}, "a": NaN}',
        b'{"annotations": {}, "a": -Infinity}', b'{"annotations": {}, "a": "\\ud800"}',
        b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"annotations": {}, "a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        # Brackets in texts that would make it look flat.
        b'{"annotations": {}, "a": ' + b'["]",' * 5000 + b"1" + b',"["]' * 5000 + b"}",
        b'{"annotations": {}, "a": ' + b'["\\"]",' * 5000 + b"1" + b',"[\\""]' * 5000 + b"}",
        b'{"annotations": {}, "a": ' + b"9" * 100_000 + b"}",
        b'{"mode": "presigned", "presigned_url": "https://store/x?sig=secret"}',
        b'{"mode": "inline", "truncated": true, "presigned_url": "https://store/x?sig=secret"}',
        b'{"mode": "inline", "truncated": true, "data": {}}',
    ],
)  # fmt: skip
def test_what_is_no_document_is_malformed_and_makes_no_sample(data):
    parsed = parse(data)
    assert parsed.kind == "opaque"
    assert [failure.reason for failure in parsed.failures] == [Reason.MALFORMED_DOCUMENT]
    assert "secret" not in repr(parsed)
    samples, failures = build_samples(7, parsed, [])
    assert samples == []
    assert [(f.record_id, f.reason, f.outcome) for f in failures] == [(7, Reason.MALFORMED_DOCUMENT, "failed")]


@pytest.mark.parametrize("before", range(0, 130, 7))
def test_a_number_of_too_many_digits_is_found_wherever_it_is(before):
    head = b'{"annotations": {}, "a": ' + b" " * before
    assert parse(head + b"9" * MAX_DIGITS + b"}").kind == "opaque"
    assert parse(head + b"9" * (MAX_DIGITS - 1) + b"}").kind == "empty"


@pytest.mark.parametrize(
    "text", ["[" * 150, "]" * 150, "[]{}" * 100, '"[' * 300, "\\[", "9" * 5000, "한" * 500 + "[" * 150]
)
def test_brackets_and_digits_in_texts_are_harmless(text):
    annotation = only(v1(thing("bounding_box", {"coordinate": BOX}, note=text)))
    assert annotation.attributes == {"note": text}
    raw = json.dumps(v1(thing("bounding_box", {"coordinate": BOX}, note=text)), ensure_ascii=False)
    assert only(raw.encode()).attributes == {"note": text}


def test_nesting_up_to_the_limit_is_read():
    value = []
    for _ in range(MAX_DEPTH - 6):
        value = [value]
    assert only(v1(thing("bounding_box", {"coordinate": BOX}, deep=value))).attributes == {"deep": value}


def test_media_are_in_natural_order():
    document = {
        "annotations": {key: [] for key in ("image_10", "image_2", "image_1", "audio_3")},
        "annotationsData": {},
    }
    assert [media.key for media in parse(document).media] == ["audio_3", "image_1", "image_2", "image_10"]


def test_a_converted_document_keeps_the_keys_and_sizes_of_its_media():
    document = {
        "annotation_data": {"images": [{}, {}]},
        "annotation_meta": {
            "annotations": {"image_10": [], "image_3": []},
            "extra": {"image_3": {"width": 8, "height": 6}},
        },
    }
    assert [(m.key, m.width, m.height) for m in parse(document).media] == [("image_3", 8, 6), ("image_10", None, None)]


def test_the_list_of_a_media_that_is_none_is_one_malformed_annotation():
    document = {"annotations": {"image_1": "oops", "image_2": None}, "annotationsData": {"image_1": "oops"}}
    parsed = parse(document)
    reasons = {failure.reason for failure in parsed.media[0].failures}
    assert reasons == {Reason.MALFORMED_ANNOTATION, Reason.ORPHAN_GEOMETRY}
    assert parsed.media[1].failures == ()


def test_a_well_formed_document_takes_the_quick_way():
    polygon, point = thing("polygon", {"coordinate": TRIANGLE}), thing("keypoint", {"coordinate": {"x": 1, "y": 2}})
    mask = thing("segmentation", {"pixel_indices": [[0, 2]], "isCompressed": True, "compressionFormat": "rle"})
    rest = {"extra": {"image_1": {}}, "relations": {"image_1": []}, "annotationGroups": {"image_1": []}}
    document = v1(GOOD_BOX, polygon, point, mask, thing("classification", {}), **rest)
    assert read_well_formed(json.dumps(document).encode()) == parse(document).media


def image(spec="image_1", *, name="a.jpg", primary=False, size=(640, 480)):
    return File(spec, name, "image", primary, *size)


SIDECAR = File("data_meta_1", "a.json", "data")


def built(document, files, **options):
    return build_samples(7, parse(document), files, **options)


def test_a_sample_has_its_record_and_its_file():
    (sample,), failures = built(v1(GOOD_BOX), [SIDECAR, image()])
    assert failures == []
    assert (sample.record_id, sample.ordinal, sample.media, sample.kind) == (7, 0, "image_1", "image")
    assert sample.file == image()
    assert sample.has_image


@pytest.mark.parametrize(
    ("extra", "meta", "size"),
    [
        ({"width": 8, "height": 6}, (640, 480), (8, 6)),
        ({"width": 8.0, "height": 6.0}, (640, 480), (8, 6)),
        ({}, (640, 480), (640, 480)),
        ({"width": 8}, (640, 480), (640, 480)),
        ({"width": 0, "height": -6}, (640, 480), (640, 480)),
        ({"width": "8", "height": True}, (640, 480), (640, 480)),
        (None, (640, 480), (640, 480)),
        (5, (None, None), (None, None)),
        ({"width": 8.5, "height": 6}, (None, None), (None, None)),
        ({"width": 8.5, "height": 6}, (640, 480), (640, 480)),
    ],
)
def test_the_size_is_the_documents_else_the_files(extra, meta, size):
    (sample,), _ = built(v1(GOOD_BOX, extra={"image_1": extra}), [image(size=meta)])
    assert (sample.width, sample.height) == size


def test_the_only_file_of_an_assignment_belongs_to_the_first_media():
    document = {"annotations": {"image_10": [], "image_2": []}, "annotationsData": {}}
    samples, _ = built(document, [image("", primary=True)])
    assert [(s.media, s.file is not None) for s in samples] == [("image_2", True), ("image_10", False)]


def test_images_the_document_does_not_mention_become_negatives_and_sidecars_do_not():
    samples, failures = built(v1(GOOD_BOX), [SIDECAR, image("image_2", name="b.jpg"), image()])
    assert [(s.media, s.ordinal, len(s.annotations)) for s in samples] == [("image_1", 0, 1), ("image_2", 1, 0)]
    assert samples[1].file.name == "b.jpg"
    assert failures == []


@pytest.mark.parametrize("document", [{"annotations": {}, "annotationsData": {}}, {"images": []}])
@pytest.mark.parametrize("spec", ["", "image_1"])
def test_the_file_of_a_document_without_media_is_a_negative(document, spec):
    samples, _ = built(document, [image(spec)])
    assert [(s.media, s.kind, s.file) for s in samples] == [("image_1", "image", image(spec))]


def test_a_document_without_media_and_files_still_is_a_sample():
    (sample,), failures = built({"annotations": {}, "annotationsData": {}}, [])
    assert (sample.kind, sample.file, failures) == ("document", None, [])


def test_media_without_a_file_stay_without_one():
    document = v1(GOOD_BOX)
    document["annotations"]["image_2"] = []
    samples, _ = built(document, [image()])
    assert [(s.media, s.file) for s in samples] == [("image_1", image()), ("image_2", None)]


def test_the_primary_file_comes_first_then_natural_order():
    document = {"annotations": {f"image_{n}": [] for n in (10, 2, 1)}, "annotationsData": {}}
    files = [image(f"image_{n}", primary=n == 10) for n in (2, 10, 1)]
    samples, _ = built(document, files)
    assert [(s.ordinal, s.media) for s in samples] == [(0, "image_10"), (1, "image_1"), (2, "image_2")]


@pytest.mark.parametrize(("key", "spec"), [("image", "image_1"), ("image_1", "image"), ("image", "image")])
def test_an_image_without_a_number_is_the_first(key, spec):
    (sample,), _ = built(v1(GOOD_BOX, media=key), [image(spec)])
    assert (sample.media, sample.file, len(sample.annotations)) == (key, image(spec), 1)


def test_images_of_version_2_get_the_files_in_their_order():
    document = {"images": [{}, {"bounding_box": [{"id": "b", "classification": "car", "data": [1, 2, 3, 4]}]}]}
    samples, _ = built(document, [image("image_10"), image("image_3"), SIDECAR])
    assert [(s.media, s.file.spec, len(s.annotations)) for s in samples] == [
        ("image_3", "image_3", 0),
        ("image_10", "image_10", 1),
    ]


def test_a_key_without_a_known_kind_takes_the_kind_of_its_file():
    (sample,), _ = built(v1(GOOD_BOX, media="front_camera"), [image("front_camera")])
    assert (sample.kind, sample.annotations[0].shape.x) == ("image", BOX["x"])
    (sample,), _ = built(v1(GOOD_BOX, media="front_camera"), [])
    assert sample.kind == "unknown"


def test_other_media_have_no_size():
    section = thing("segmentation", {"section": {"startFrame": 1}})
    document = v1(section, media="video_1", extra={"video_1": {"width": 8, "height": 6}})
    (sample,), _ = built(document, [File("video_1", "a.mp4", "video", True, 640, 480)])
    assert (sample.kind, sample.width, sample.height) == ("video", None, None)


def test_an_opaque_document_is_one_sample_with_the_primary_file():
    files = [SIDECAR, image("image_2"), image("image_3", primary=True)]
    (sample,), (failure,) = built({"schema": "any"}, files)
    assert (sample.kind, sample.file, sample.annotations) == ("document", files[2], ())
    assert (failure.record_id, failure.reason, failure.outcome) == (7, Reason.UNSUPPORTED_DOCUMENT, "skipped")
    (sample,), _ = built({"schema": "any"}, files[:2])
    assert sample.file == files[1]
    (sample,), _ = built({"schema": "any"}, [])
    assert sample.file is None


def test_a_record_nobody_labelled_gives_nothing():
    assert built(None, [image()]) == ([], [])


def test_failures_of_annotations_carry_the_record_and_the_media():
    document = v1(thing("bounding_box", None), media="image_2")
    document["annotationsData"]["image_5"] = [{"id": "lost"}]
    _, failures = built(document, [])
    assert [(f.record_id, f.media, f.annotation_id) for f in failures] == [(7, "image_5", "lost"), (7, "image_2", "a0")]


MASK = thing("segmentation", {"pixel_indices": [[0, 2], [46, 2]]})


def test_a_mask_outside_a_known_size_fails_and_its_neighbours_stay():
    document = v1(MASK, GOOD_BOX, extra={"image_1": {"width": 8, "height": 5}})
    (sample,), failures = built(document, [image()])
    assert [annotation.id for annotation in sample.annotations] == ["a1"]
    assert [(f.record_id, f.reason, f.media, f.annotation_id) for f in failures] == [
        (7, Reason.INVALID_MASK_ENCODING, "image_1", "a0")
    ]


def test_a_mask_is_checked_when_the_size_is_settled_later():
    (sample,), failures = built(v1(MASK, GOOD_BOX), [image(size=(None, None))])
    assert (len(sample.annotations), failures) == (2, [])
    sized, failures = with_header(sample, Header(8, 6))
    assert (sized.width, sized.height, len(sized.annotations), failures) == (8, 6, 2, [])
    sized, failures = with_header(sample, Header(6, 7, 6))
    assert [annotation.id for annotation in sized.annotations] == ["a1"]
    assert [(f.record_id, f.reason, f.media) for f in failures] == [(7, Reason.INVALID_MASK_ENCODING, "image_1")]
