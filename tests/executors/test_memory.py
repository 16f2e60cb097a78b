"""What a worker holds depends on bytes and not on rows: the figures of docs/sizing.md, each in a process of its own."""

import gzip
import json
import re

import numpy as np
import pytest
from aiohttp import web

from exporting import ROOT, storage
from heavy_api import HeavyApi, measured

pytestmark = [pytest.mark.slow]

SIZE = (3840, 2160)


def limit(name):
    """The megabytes that docs/sizing.md gives for a row of its table of limits."""
    text = (ROOT / "docs/sizing.md").read_text(encoding="utf-8")
    return int(re.search(rf"^\| {re.escape(name)} .*\| (\d+) MB \|$", text, re.MULTILINE)[1])


def noise():
    """A mask of a 4K image of which every other pixel is inside, by chance: 23 MB of JSON, as large as they get."""
    bits = np.random.default_rng(1).random(SIZE[0] * SIZE[1]) < 0.5
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bits.view(np.int8), [0]))))
    pairs = np.stack((edges[::2], edges[1::2] - edges[::2]), axis=1)
    return ",".join(f"[{start},{length}]" for start, length in pairs.tolist())


def document(annotations, geometry, size=SIZE):
    width, height = size
    head = {"extra": {"image_1": {"width": width, "height": height}}, "annotations": {"image_1": annotations}}
    return (json.dumps(head)[:-1] + ', "annotationsData": {"image_1": [' + geometry + "]}}").encode()


def mask_document(pixels, size=SIZE):
    annotations = [{"id": "m", "tool": "segmentation", "classification": {"class": "sky"}}]
    entry = '{"id": "m", "isCompressed": true, "compressionFormat": "rle", "pixel_indices": [' + pixels + "]}"
    return document(annotations, entry, size)


def boxes_document(number):
    annotations = [
        {"id": f"b{i}", "tool": "bounding_box", "classification": {"class": f"class {i % 7}"}} for i in range(number)
    ]
    places = [
        json.dumps({"id": f"b{i}", "coordinate": {"x": i % 3000, "y": 7.5, "width": 30.25, "height": 40}})
        for i in range(number)
    ]
    return document(annotations, ",".join(places))


@pytest.fixture(scope="module")
def large():
    """A record of a 4K mask, padded to 28 MB as the largest ones of the field are."""
    found = mask_document(noise())
    return found + b" " * (28 * 2**20 - len(found))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shards", [1, 8])
def test_forty_records_of_28_megabytes_in_one_shard_and_in_shards_at_once(tmp_path, large, shards):
    with HeavyApi([large] * 40, presigned=True) as api:
        code, megabytes, said = measured(api, tmp_path, records=40 // shards, formats=["coco"])
    assert code == 0, said
    assert megabytes < limit("40 records of 28 MB")
    assert not [name for name, _ in storage(tmp_path / "out").files() if name.startswith("_staging")]


@pytest.mark.parametrize("presigned", [True, False], ids=["presigned", "raw"])
def test_large_records_in_pages_and_documents_kept_whole(tmp_path, large, presigned):
    with HeavyApi([large] * 5, presigned=presigned) as api:
        code, megabytes, said = measured(api, tmp_path, records=5, formats=["coco", "synapse_json"])
    assert code == 0, said
    assert megabytes < limit("the same with `synapse_json`")
    written = [size for name, size in storage(tmp_path / "out").files() if name.startswith("json/")]
    assert len(written) == 5
    assert min(written) > 20 * 2**20


def test_a_shard_of_large_records_that_had_failed_is_patched(tmp_path, large):
    gone = {f"/document/{number}" for number in range(2, 13)}

    async def missing(request):
        return web.Response(status=404) if request.path in gone else None

    options = {"records": 12, "formats": ["coco"], "max_failures": 100}
    with HeavyApi([large] * 12, presigned=True, more=missing) as api:
        code, _, said = measured(api, tmp_path, **options)
        assert code == 0, said
        assert len(storage(tmp_path / "out").read("metadata/failures.jsonl").splitlines()) == 11
        gone.clear()
        code, megabytes, said = measured(api, tmp_path, command="retry-failed", **options)
    assert code == 0, said
    assert megabytes < limit("11 of 12 such records")
    assert storage(tmp_path / "out").read("metadata/failures.jsonl") == b""


@pytest.mark.timeout(600)
def test_a_million_small_annotations_in_one_shard(tmp_path):
    with HeavyApi([boxes_document(2000)] * 500) as api:
        code, megabytes, said = measured(
            api, tmp_path, records=500, formats=["coco", "yolo", "csv", "parquet", "synapse_json"]
        )
    assert code == 0, said
    assert megabytes < limit("1,000,000 small annotations")
    rows = sum(chunk.count(b"\n") for chunk in storage(tmp_path / "out").chunks("annotations.csv"))
    assert rows == 1_000_001


BOMBS = {
    "a run of 10^12 pixels": mask_document("[0,1000000000000]"),
    "an image of 10^6 by 10^6": mask_document("[0,1]", (10**6, 10**6)),
    "a number of 5000 digits": boxes_document(1).replace(b"7.5", b"1" * 5000),
    "200,000 lists in each other": b'{"annotations": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "millions of empty objects": b'{"annotations": {"image_1": [' + b"{}," * 4_000_000 + b"{}]}}",
    "gigabytes of spaces": gzip.compress(b" " * 2**30),
}


def test_bombs_fail_alone_with_their_reasons_before_anything_is_allocated(tmp_path):
    packed = len(BOMBS)

    async def unpacked_by_the_client(request):
        if request.path != f"/document/{packed + 1}":
            return None
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=BOMBS["gigabytes of spaces"], headers=headers)

    sound = boxes_document(3)
    with HeavyApi([sound, *BOMBS.values(), sound], presigned=True, more=unpacked_by_the_client) as api:
        code, megabytes, said = measured(api, tmp_path, records=20, max_failures=100)
    assert code == 0, said
    assert megabytes < limit("bombs: documents")
    lines = storage(tmp_path / "out").read("metadata/failures.jsonl").splitlines()
    failed = {}
    for line in lines:
        failed.setdefault(json.loads(line)["record_id"], []).append(json.loads(line)["reason"])
    reasons = dict(zip(BOMBS, (failed[number] for number in range(2, packed + 2)), strict=True))
    assert reasons["a run of 10^12 pixels"] == ["INVALID_MASK_ENCODING"]
    assert reasons["an image of 10^6 by 10^6"] == ["INVALID_MASK_ENCODING"]
    assert reasons["a number of 5000 digits"] == ["MALFORMED_DOCUMENT"]
    assert reasons["200,000 lists in each other"] == ["MALFORMED_DOCUMENT"]
    assert reasons["millions of empty objects"] == ["MALFORMED_DOCUMENT"]
    assert reasons["gigabytes of spaces"] == ["PAYLOAD_UNAVAILABLE"]
    assert set(failed) == set(range(2, packed + 2))
    assert b"\n1," in storage(tmp_path / "out").read("metadata/records.csv")
