"""Originals arrive whole, once, hashed, and never half written; sizes of pictures come from their headers."""

import asyncio
import contextlib
import hashlib
import io
import threading
import time
import tracemalloc
import zlib
from dataclasses import replace
from functools import partial

import pytest
from aiohttp import web
from PIL import Image

from frames import STORED, Frame, padded
from pipeline.errors import StorageError, TransientError
from pipeline.images.files import Header, read_header
from pipeline.images.remote_header import find_header
from pipeline.model.backoff import Backoff
from pipeline.model.source import Copied, Wanted
from pipeline.reasons import Reason
from pipeline.records import Failure
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.storage import open_storage
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.http.tries import RequestLimits
from pipeline.synapse.limits import DEFAULT_LIMITS, SourceLimits
from pipeline.synapse.source import Source
from synapse.local_api import QUICK, TOKEN, LocalApi, TinyList, scripted, task

TARGETS = ("task", "assignment", "ground_truth")
PICTURE = bytes(range(256)) * 4000
STUBBORN = RequestLimits(Backoff(attempts=20, first=0.01, longest=0.05))


class Memory:
    """A storage that remembers what was put in place, and what was begun and given up."""

    def __init__(self):
        self.files = {}
        self.streamed = []
        self.discarded = []

    def write(self, path, data):
        assert path not in self.files
        self.files[path] = bytes(data)

    @contextlib.contextmanager
    def create(self, path):
        stream = io.BytesIO()
        try:
            yield stream
        except BaseException:
            self.discarded.append(path)
            raise
        self.streamed.append(path)
        self.write(path, stream.getvalue())


@pytest.fixture
def connect(monkeypatch):
    opened = []

    def make(server, target="task", *, page_size=7, requests=8, limits=QUICK, sizes=DEFAULT_LIMITS):
        monkeypatch.setenv("SYNAPSE_HOST", server.url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", getattr(server, "token", TOKEN))
        opened.append(SynapseClient.from_environment(requests=requests, limits=limits))
        chosen = {"ground_truth_dataset_version": 99} if target == "ground_truth" else {"project": 12}
        return Source(opened[-1], target, chosen, page_size=page_size, limits=sizes)

    yield make
    for client in opened:
        client.close()


def wanted_of(source, shards):
    return [
        Wanted(sample.record_id, sample.file.spec, f"images/{sample.record_id}-{sample.ordinal}", sample.file.size)
        for shard in shards
        for record in source.extract(shard, needs_payload=False)
        for sample in record.samples
        if sample.file
    ]


def copied(source, shard, wanted, storage=None):
    storage = storage or Memory()
    return list(source.copy_originals(shard, wanted, storage.write, storage.create)), storage


def one_file(answer, connect, size=None, wanted=None, info=None, storage=None, **options):
    """Copy the only file of a list whose file is served by ``answer``.

    ``wanted`` is more to ask of the copy, ``info`` what the API says of the file besides its name.
    """
    row = task(5)
    row["data_unit"]["files"]["image_1"] |= info or {}
    rows = TinyList([row])

    async def serve(request):
        return await (rows if request.path.startswith("/sdk/") else answer)(request)

    with LocalApi(serve) as api:
        source = connect(api, **options)
        (shard,) = source.plan(10, lambda _: None)
        files = [Wanted(5, "image_1", "images/a.jpg", size, **(wanted or {}))]
        ((path, result),), storage = copied(source, shard, files, storage)
    assert path == "images/a.jpg"
    return result, storage, api


def assert_failed(result, storage, words, *, transient=False):
    assert isinstance(result, Failure)
    assert (result.reason, result.outcome) == (Reason.IMAGE_MATERIALIZATION_FAILED, "failed")
    assert words in result.detail
    assert "://" not in result.detail
    assert result.transient is transient
    assert storage.files == {}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("file_urls", ["signed", "media"])
def test_every_original_arrives_as_it_is(connect, target, file_urls):
    with Sandbox(SandboxOptions(records=20, file_urls=file_urls, image_size=(320, 240))) as sandbox:
        source = connect(sandbox, target, limits=RequestLimits())  # a busy machine is no reason to fetch a file again
        shards = source.plan(20, lambda _: None)
        wanted = wanted_of(source, shards)
        sandbox.clear_requests()
        results, storage = copied(source, shards[0], wanted[::-1])
        requests = sandbox.requests()
        sizes = {f"images/{told.key}-0": (m.width, m.height) for told in sandbox.truth(target) for m in told.media}
    assert [path for path, _ in results] == [file.path for file in wanted[::-1]]
    assert len(storage.files) == len(wanted) == 20
    for path, result in results:
        data = storage.files[path]
        assert result == Copied(path, len(data), hashlib.sha256(data).hexdigest())
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == sizes[path]
    listed = [entry for entry in requests if entry["path"].startswith("/sdk/")]
    assert len(listed) == 3
    assert all("data" not in entry["query"]["fields"].split(",") for entry in listed)
    fetched = [entry for entry in requests if not entry["path"].startswith("/sdk/")]
    assert len(fetched) == 20
    assert all(("synapse-access-token" in entry["headers"]) is (file_urls == "media") for entry in fetched)


def test_only_what_is_wanted_is_listed(connect, tidy):
    source = connect(tidy)
    (shard,) = source.plan(100, lambda _: None)
    wanted = wanted_of(source, [shard])[10:12]
    tidy.clear_requests()
    results, _ = copied(source, shard, wanted)
    assert [path for path, _ in results] == [file.path for file in wanted]
    assert len(tidy.requests()) == 3
    assert copied(source, shard, [])[0] == []


def test_a_real_storage_takes_small_and_large_files(connect, tmp_path):
    connect = partial(connect, sizes=SourceLimits(whole_file=20_000))
    with Sandbox(SandboxOptions(records=6)) as sandbox:
        source = connect(sandbox)
        (shard,) = source.plan(10, lambda _: None)
        storage = open_storage(str(tmp_path))
        results, _ = copied(source, shard, wanted_of(source, [shard]), storage)
    for path, result in results:
        assert hashlib.sha256(storage.read(path)).hexdigest() == result.sha256
    assert len([path for path, _ in storage.files("images")]) == 6


def test_urls_that_run_out_are_issued_again(connect):
    with Sandbox(SandboxOptions(records=20, url_ttl=0.4, blob_latency=0.1, image_size=(320, 240))) as sandbox:
        source = connect(sandbox, requests=2, page_size=20)
        (shard,) = source.plan(20, lambda _: None)
        results, _ = copied(source, shard, wanted_of(source, [shard]))
        assert any(entry["status"] == 403 for entry in sandbox.requests())
    assert all(isinstance(result, Copied) for _, result in results)


@pytest.mark.parametrize("kind", ["500", "reset", "cut", "429"])
def test_passing_trouble_changes_nothing(connect, kind):
    faults = tuple(Fault(route=route, kind=kind, times=2, each=True, value=0.1) for route in ("originals", "pages"))
    with Sandbox(SandboxOptions(records=15, image_size=(320, 240))) as sandbox:
        source = connect(sandbox)
        (shard,) = source.plan(20, lambda _: None)
        wanted = wanted_of(source, [shard])
        expected, _ = copied(source, shard, wanted)
        sandbox.set_faults(faults)
        assert copied(source, shard, wanted)[0] == expected
        assert any(entry["fault"] for entry in sandbox.requests())


def ranged(data, *, etag='"v1"', cut_after=0, seen=None):
    """A server of one file that hangs up after ``cut_after`` bytes of each answer, and understands ranges."""

    async def answer(request):
        start = 0
        header = request.headers.get("Range", "")
        if seen is not None:
            seen.append((header, request.headers.get("If-Range", "")))
        current = etag() if callable(etag) else etag
        if header and request.headers.get("If-Range") == current:
            start = int(header.removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Length": str(len(data) - start), "ETag": current}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        part = data[start : start + cut_after] if cut_after else data[start:]
        await response.write(part)
        if start + len(part) < len(data):
            request.transport.close()
        return response

    return answer


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
def test_a_cut_download_goes_on_where_it_stopped(connect, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    seen = []
    result, storage, _ = one_file(ranged(PICTURE, cut_after=400_000, seen=seen), connect, limits=STUBBORN)
    assert result == Copied("images/a.jpg", len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert storage.files == {"images/a.jpg": PICTURE}
    assert seen[0] == ("", "")
    assert all(condition == '"v1"' for _, condition in seen[1:])
    starts = [int(header.removeprefix("bytes=").removesuffix("-")) for header, _ in seen[1:]]
    assert starts[0] > 0
    assert starts == sorted(starts)


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
def test_a_file_that_changed_meanwhile_starts_anew(connect, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    tags = iter(['"v1"'])
    result, storage, _ = one_file(
        ranged(PICTURE, etag=lambda: next(tags, '"v2"'), cut_after=600_000), connect, limits=STUBBORN
    )
    assert result.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert storage.files == {"images/a.jpg": PICTURE}


def test_a_long_download_may_be_cut_more_often_than_it_is_tried(connect):
    patient = partial(connect, limits=replace(QUICK, progress=1000))
    result, _, _ = one_file(ranged(PICTURE, cut_after=100_000), patient)
    assert result == Copied("images/a.jpg", len(PICTURE), hashlib.sha256(PICTURE).hexdigest())


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_a_cut_download_starts_anew(connect, etag):
    seen, cuts = [], iter([400_000, 0])

    async def answer(request):
        return await ranged(PICTURE, etag=etag, cut_after=next(cuts), seen=seen)(request)

    result, _, _ = one_file(answer, connect)
    assert isinstance(result, Copied)
    assert [header for header, _ in seen] == ["", ""]


def test_a_large_file_is_never_whole_in_memory_and_appears_at_the_end(connect):
    connect = partial(connect, sizes=SourceLimits(whole_file=100_000))
    result, storage, _ = one_file(ranged(PICTURE), connect)
    assert storage.streamed == ["images/a.jpg"]
    assert result.size == len(PICTURE)


async def endless(request):
    """Send bytes, at a good pace, until the client hangs up."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:
        await response.write(bytes(2**16))
        await asyncio.sleep(0.001)


def test_an_original_without_end_is_left_at_the_largest_size_allowed(connect):
    sizes = SourceLimits(whole_file=2**17, largest_original=2**20)
    result, storage, _ = one_file(endless, connect, sizes=sizes)
    assert_failed(result, storage, "more than 1,048,576 bytes; raise run.largest_original_mb", transient=True)
    assert storage.discarded == ["images/a.jpg"]


@pytest.mark.parametrize("told", ["answer", "row"])
def test_an_original_that_is_too_large_by_what_is_said_of_it_is_not_read(connect, told):

    async def large(request):
        response = web.StreamResponse()
        if told == "answer":
            response.content_length = 2**20 + 1
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1024):
                await response.write(bytes(2**10))
                await asyncio.sleep(0)
        return response

    size = 2**20 + 1 if told == "row" else None
    result, storage, _ = one_file(large, connect, size, sizes=SourceLimits(largest_original=2**20))
    assert_failed(result, storage, "more than 1,048,576 bytes", transient=True)
    assert storage.discarded == []


def test_an_original_that_never_ends_is_given_up_in_time_however_fast_it_comes(connect):
    """All tries together: each one brings more than enough to be counted anew."""
    impatient = RequestLimits(Backoff(attempts=2, first=0.01), deadline=0.5, progress=2**16, unannounced=2**10)
    result, storage, _ = one_file(endless, connect, limits=impatient)
    assert_failed(result, storage, "no complete answer in time", transient=True)


def test_a_size_that_nobody_announced_is_counted(connect):
    connect = partial(connect, sizes=SourceLimits(whole_file=100_000))

    async def chunked(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(PICTURE), 100_000):
            await response.write(PICTURE[start : start + 100_000])
        return response

    result, storage, _ = one_file(chunked, connect)
    assert result.size == len(PICTURE)
    assert storage.files == {"images/a.jpg": PICTURE}


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
def test_a_file_whose_url_runs_out_halfway_goes_on_behind_the_new_one(connect, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    seen = []
    serve = ranged(PICTURE, cut_after=600_000, seen=seen)

    async def answer(request):
        if len(seen) == 1:
            seen.append(("refused", ""))
            return web.Response(status=403)
        return await serve(request)

    result, storage, api = one_file(answer, connect, limits=STUBBORN)
    assert result == Copied("images/a.jpg", len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert storage.files == {"images/a.jpg": PICTURE}
    assert seen[2][0].startswith("bytes=")
    assert seen[2][0] != "bytes=0-"
    asked = ["page" if request.path.startswith("/sdk/") else "file" for request in api.seen]
    first = asked.index("file")
    assert asked[first : first + 4] == ["file", "file", "page", "file"]
    assert asked[first:].count("page") == 1


def checksum(algorithm, data=PICTURE):
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
@pytest.mark.parametrize(
    "given",
    [
        checksum("md5"),
        checksum("sha1"),
        checksum("sha256").upper(),
        f"sha256:{checksum('sha256')}",
        f"SHA-1:{checksum('sha1')}",
        # Nothing says what these are of.
        checksum("sha512"),
        "crc32:1a2b3c4d",
        f"blake2s:{checksum('sha256', b'')}",
        f'"{checksum("md5", b"")}-5"',
        "?" * 32,
        "",
        None,
        5,
    ],
)
def test_a_checksum_that_is_right_or_of_no_known_kind_lets_a_file_pass(connect, small, given):
    connect = partial(connect, sizes=SourceLimits(whole_file=small))
    result, storage, _ = one_file(ranged(PICTURE), connect, info={"checksum": given})
    assert result == Copied("images/a.jpg", len(PICTURE), checksum("sha256"))
    assert storage.files == {"images/a.jpg": PICTURE}


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
@pytest.mark.parametrize(("algorithm", "name"), [("md5", "MD5"), ("sha1", "SHA-1"), ("sha256", "SHA-256")])
def test_another_file_than_the_one_whose_checksum_the_api_gives_is_not_taken(connect, small, algorithm, name):
    connect = partial(connect, sizes=SourceLimits(whole_file=small))
    seen = []
    info = {"checksum": checksum(algorithm, b"another")}
    result, storage, _ = one_file(ranged(PICTURE, seen=seen), connect, info=info)
    assert_failed(result, storage, f"the file is not the one whose {name} the API gives", transient=True)
    assert seen == [("", "")] * 2, "it is fetched once more, from its first byte"
    assert storage.streamed == []


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
def test_a_file_that_was_damaged_on_its_way_is_fetched_once_more(connect, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small))
    bodies = iter([PICTURE[:-1] + b"?", PICTURE])

    async def answer(request):
        return await ranged(next(bodies))(request)

    result, storage, _ = one_file(answer, connect, info={"checksum": checksum("md5")})
    assert result == Copied("images/a.jpg", len(PICTURE), checksum("sha256"))
    assert storage.files == {"images/a.jpg": PICTURE}


def test_a_checksum_is_that_of_the_file_before_it_is_turned(connect):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture("JPEG", (640, 480), exif=exif)
    wanted = {"pixels": (480, 640), "bake": True}
    result, _, _ = one_file(ranged(data), connect, wanted=wanted, info={"checksum": checksum("sha1", data)})
    assert (result.source_sha256, result.findings) == (checksum("sha256", data), (Reason.EXIF_BAKED,))


def test_a_file_longer_than_it_should_be_is_not_read_to_its_end(connect):
    sent = []

    async def endless(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(200):
            sent.append(2**20)
            await response.write(bytes(2**20))
        return response

    result, storage, _ = one_file(endless, connect, size=1000)
    assert_failed(result, storage, "the API says 1,000", transient=True)
    assert sum(sent) < 100 * 2**20


def test_memory_does_not_grow_with_the_size_of_a_file(connect):
    block, blocks = bytes(range(256)) * 1024, 384

    class Counted(Memory):
        @contextlib.contextmanager
        def create(self, path):
            yield self
            self.streamed.append(path)

        def write(self, *data):
            self.files.setdefault("bytes", []).append(len(data[-1]))

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(block) * blocks)})
        await response.prepare(request)
        for _ in range(blocks):
            await response.write(block)
        return response

    storage = Counted()
    tracemalloc.start()
    try:
        result, _, _ = one_file(answer, connect, storage=storage)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (result.size, sum(storage.files["bytes"])) == (len(block) * blocks, len(block) * blocks)
    assert storage.streamed == ["images/a.jpg"]
    assert peak < 24 * 2**20, "of a file of 96 MB, its server included"


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
@pytest.mark.parametrize(
    ("answer", "size", "words", "transient"),
    [
        (web.Response(status=404), None, "no such object", False),
        (web.Response(status=302, headers={"Location": "http://127.0.0.2/"}), None, "redirects", False),
        (web.Response(status=503), None, "HTTP 503", True),
        (web.Response(status=403), None, "had run out", True),
        (web.Response(body=b""), None, "the file is empty", True),
        (web.Response(body=PICTURE), 5, "the API says 5", True),
        (ranged(PICTURE, etag="", cut_after=500_000), None, "cut short", True),
    ],
    ids=["gone", "redirect", "trouble", "expired", "empty", "other size", "always cut"],
)
def test_what_cannot_be_copied_is_a_failure_and_leaves_nothing(connect, answer, size, words, transient, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    result, storage, _ = one_file(scripted(answer) if isinstance(answer, web.Response) else answer, connect, size)
    assert_failed(result, storage, words, transient=transient)
    assert (result.record_id, result.media) == (5, "image_1")
    assert storage.streamed == []


def test_files_that_the_api_no_longer_lists_are_failures(connect):
    with LocalApi(TinyList([task(5), task(6, data_unit={"files": {"image_1": {"name": "x"}}}), task(7)])) as api:
        source = connect(api)
        (shard,) = source.plan(10, lambda _: None)
        del api._answer.rows[0]
        wanted = [Wanted(5, "image_9", "a"), Wanted(6, "image_1", "b"), Wanted(7, "image_1", "c")]
        results, storage = copied(source, shard, wanted)
    for (_, result), words in zip(
        results, ("no URL of the file", "no URL of the file", "no longer lists"), strict=True
    ):
        assert_failed(result, storage, words)


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), StorageError("s3://b", "denied"), TransientError("s3://b", "denied: 503")],
)
def test_a_storage_that_fails_ends_the_work_and_is_not_taken_for_the_network(connect, error, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))

    class Full(Memory):
        def write(self, path, data):
            raise error

        @contextlib.contextmanager
        def create(self, path):
            with super().create(path) as stream:
                stream.write = lambda _: (_ for _ in ()).throw(error)
                yield stream

    rows = TinyList([task(5)])
    fetched = []

    async def serve(request):
        if request.path.startswith("/sdk/"):
            return await rows(request)
        fetched.append(request)
        return web.Response(body=PICTURE)

    storage = Full()
    with LocalApi(serve) as api:
        source = connect(api)
        (shard,) = source.plan(10, lambda _: None)
        kind = TransientError if isinstance(error, TransientError) else StorageError
        with pytest.raises(kind, match=r"No space left|denied"):
            copied(source, shard, [Wanted(5, "image_1", "images/a.jpg")], storage)
    assert len(fetched) == 1
    assert storage.files == {}


def test_slow_storage_and_slow_downloads_overlap(connect):
    threads = set()

    class Slow(Memory):
        def write(self, path, data):
            threads.add(threading.current_thread().name)
            time.sleep(0.05)
            super().write(path, data)

    with Sandbox(SandboxOptions(records=32, blob_latency=0.05, image_size=(320, 240))) as sandbox:
        source = connect(sandbox, requests=16, page_size=32)
        (shard,) = source.plan(40, lambda _: None)
        wanted = wanted_of(source, [shard])
        results, storage = copied(source, shard, wanted, Slow())
    assert len(storage.files) == len(results) == 32
    assert len(threads) > 4


# Sizes from headers


def picture(form, size=(1600, 1200), **options):
    stream = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(stream, form, **options)
    return stream.getvalue()


async def size_of(data, lengths):
    async def fetch(start, length):
        lengths.append(length)
        return data[start : start + length], len(data)

    header = await find_header(fetch)
    return header and header.upright_size


FORMS = [
    ("JPEG", {}, 1),
    ("PNG", {}, 2),  # what says that it is turned may follow the pixels
    ("GIF", {}, 1),
    ("BMP", {}, 1),
    ("TIFF", {}, 1),
    ("TIFF", {"compression": "tiff_lzw"}, 2),  # its header follows the pixels
    ("WEBP", {}, 1),
    ("WEBP", {"lossless": True}, 1),
    ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}, 2),  # it follows the pixels
    ("AVIF", {}, 1),
    ("JPEG", {"icc_profile": bytes(300_000)}, 2),
]


@pytest.mark.parametrize(("form", "options", "looks"), FORMS)
def test_the_size_of_a_picture_is_found_in_its_first_bytes(form, options, looks):
    lengths = []
    assert asyncio.run(size_of(picture(form, **options), lengths)) == (1600, 1200)
    assert len(lengths) == looks


def test_a_picture_turned_by_its_metadata_is_measured_as_it_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert asyncio.run(size_of(picture("JPEG", (64, 48), exif=exif), [])) == (48, 64)


@pytest.mark.parametrize("size", [(20_000, 20_000), (65_000, 65_000)])
def test_a_huge_picture_is_measured_or_refused_but_never_unpacked(size):
    width, height = (number.to_bytes(4, "big") for number in size)
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width + height + b"\x08\x02\0\0\0"
    head += zlib.crc32(head[12:]).to_bytes(4, "big") + b"\0\0\0\0IDAT" + bytes(8)
    tracemalloc.start()
    header = read_header(head)
    assert header is None or header[:3] == (*size, None)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
def test_a_turned_picture_is_copied_upright_when_asked(connect, small):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture("JPEG", (640, 480), exif=exif, quality=98)
    assert len(data) > 200_000
    result, storage, _ = one_file(ranged(data), connect, wanted={"pixels": (480, 640), "bake": True})
    written = storage.files["images/a.jpg"]
    assert result == Copied(
        "images/a.jpg",
        len(written),
        hashlib.sha256(written).hexdigest(),
        Header(640, 480, 6, "JPEG"),
        hashlib.sha256(data).hexdigest(),
        (Reason.EXIF_BAKED,),
    )
    assert read_header(written) == Header(480, 640, 1, "JPEG")


@pytest.mark.parametrize("bake", [False, True])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_what_is_said_at_the_end_of_a_streamed_picture_is_heeded(connect, form, bake):
    """Known to be turned only when it has passed, it is fetched once more if it is to be turned."""
    connect = partial(connect, sizes=SourceLimits(whole_file=100_000, stream_chunk=50_000))
    seen, data = [], padded(Frame({"PNG": "PNG, late EXIF"}.get(form, form), 6, "right").file(), 2**21)
    result, storage, _ = one_file(ranged(data, seen=seen), connect, wanted={"pixels": STORED[::-1], "bake": bake})
    assert result.header[:4] == (*STORED, 6, form)
    assert result.findings == ((Reason.EXIF_BAKED,) if bake else (Reason.EXIF_ORIENTATION,))
    written = read_header(storage.files["images/a.jpg"])
    assert written[:3] == ((*STORED[::-1], 1) if bake else (*STORED, 6))
    assert len(seen) == 1 + bake


def test_a_streamed_picture_that_may_be_turned_but_is_not_is_fetched_once(connect):
    connect = partial(connect, sizes=SourceLimits(whole_file=100_000, stream_chunk=50_000, baked_picture=200_000))
    seen, data = [], padded(Frame("PNG", 1, "right").file(), 2**21)
    result, storage, _ = one_file(ranged(data, seen=seen), connect, wanted={"pixels": STORED, "bake": True})
    assert result == Copied("images/a.jpg", len(data), hashlib.sha256(data).hexdigest(), Header(*STORED, 1, "PNG"))
    assert storage.files == {"images/a.jpg": data}
    assert len(seen) == 1


def test_a_turned_picture_too_large_to_hold_fails_instead_of_being_copied_unturned(connect):
    connect = partial(connect, sizes=SourceLimits(whole_file=50_000, baked_picture=100_000, stream_chunk=50_000))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture("JPEG", (640, 480), exif=exif, quality=98)
    result, storage, _ = one_file(ranged(data), connect, wanted={"pixels": (480, 640), "bake": True})
    assert_failed(result, storage, "is not turned upright")


@pytest.mark.parametrize("small", [2**30, 100_000], ids=["collected", "streamed"])
@pytest.mark.parametrize(("tail", "findings"), [(b"", ()), (b"\0\0", (Reason.IMAGE_UNTERMINATED,))])
def test_the_end_of_a_jpeg_is_looked_at(connect, small, tail, findings):
    connect = partial(connect, sizes=SourceLimits(whole_file=small, stream_chunk=50_000))
    data = picture("JPEG", (640, 480), quality=98) + tail
    result, storage, _ = one_file(ranged(data), connect, wanted={"pixels": (640, 480)})
    assert storage.files == {"images/a.jpg": data}
    assert result.findings == findings
    assert result.header == Header(640, 480, 1, "JPEG")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"\xff\xd8\xff",
        b"RIFF....WEBPVP8 ",
        b"RIFF....WEBPXXXX" + bytes(30),
        b"II*\0",
        b"\x89PNG\r\n",
    ],
)
def test_what_is_no_picture_has_no_size(data):
    assert asyncio.run(size_of(data, [])) is None
