"""A server that answers one thing wrongly: the record fails by name, or the run stops with one clear line."""

import asyncio
import gzip
import json
import threading
import zlib

import pytest
from aiohttp import web

from exporting import export, storage, summary, verify
from pipeline.errors import BackendError, ExportError, FailureLimitError, PreflightError, TransientError
from pipeline.model.backoff import Backoff
from pipeline.stages import workspace
from pipeline.synapse.http import transport
from pipeline.synapse.http.tries import RequestLimits
from pipeline.synapse.limits import SourceLimits
from synapse.local_api import SIGNATURE, TinySynapse, cut, picture, reset, task

DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The package's waits, a fiftieth as long."""
    quick = RequestLimits(Backoff(3, first=0.01, longest=0.02, jitter=0.5, longest_retry_after=0.02), deadline=30)
    monkeypatch.setattr(transport, "RequestLimits", lambda: quick)


def rows(number=6):
    return [task(key) for key in range(1, number + 1)]


def is_plan(request):
    return request.query.get("fields") == "id" and "pagination" in request.query


def is_documents(request):
    return "response_mode" in request.query


def body(text):
    return web.Response(body=text, content_type="application/json")


def failures(path):
    return [json.loads(line) for line in storage(path).read("metadata/failures.jsonl").splitlines()]


def originals(path):
    return sorted(name for name, _ in storage(path).files() if name.startswith(("images/", "files/")))


# Ids, sizes and depths that no reader holds


@pytest.mark.parametrize("number", [b"9223372036854775808", b"1" * 25, b"9" * 5000, b"-" + b"9" * 30])
def test_a_plan_with_an_id_that_is_none_ends_with_one_line(tmp_path, number):
    def spoil(page, request):
        return body(b'{"next":null,"results":[{"id":%b}]}' % number) if is_plan(request) else None

    with TinySynapse(rows(), spoil=spoil) as api, pytest.raises(TransientError, match="no id that can be read") as told:
        export(api, tmp_path / "out")
    assert "\n" not in str(told.value)


def test_unknown_keys_of_a_plan_are_skipped_however_deep_they_are(tmp_path):
    def spoil(page, request):
        if not is_plan(request):
            return None
        row = b'{"id":%d,"more":%b}'
        inner = b",".join(row % (found["id"], DEEP) for found in page)
        return body(b'{"next":null,"deep":%b,"results":[%b]}' % (DEEP, inner))

    with TinySynapse(rows(), spoil=spoil) as api:
        export(api, tmp_path / "out")
    assert summary(tmp_path / "out")["records"]["written"] == 6


@pytest.mark.parametrize("where", ["next", "count"])
def test_an_envelope_that_cannot_be_read_ends_with_one_line(tmp_path, where):
    def spoil(page, request):
        return body(b'{"results":[],"%b":%b}' % (where.encode(), DEEP)) if is_plan(request) else None

    with TinySynapse(rows(), spoil=spoil) as api, pytest.raises(TransientError, match="cannot be used") as told:
        export(api, tmp_path / "out")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("count", [b"18446744073709551616", b"-1", b"9" * 5000, DEEP])
def test_a_count_that_is_none_ends_with_one_line(tmp_path, count):
    def spoil(page, request):
        return body(b'{"next":null,"count":%b,"results":[]}' % count) if request.query["page_size"] == "1" else None

    with TinySynapse(rows(), spoil=spoil) as api, pytest.raises(ExportError) as told:
        export(api, tmp_path / "out")
    assert told.value.exit_code == 1
    assert "\n" not in str(told.value)


def test_the_body_of_a_refusal_may_be_anything(tmp_path):
    def spoil(page, request):
        refusal = web.Response(status=400, body=DEEP[:9_000], content_type="application/json")
        return refusal if is_plan(request) else None

    with TinySynapse(rows(), spoil=spoil) as api, pytest.raises(BackendError, match="HTTP 400"):
        export(api, tmp_path / "out")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_project_that_cannot_be_read_ends_before_any_work(tmp_path, status):
    with TinySynapse(rows()) as api:
        api.project = (b'{"detail":%b}' % DEEP, status)
        with pytest.raises(ExportError) as told:
            export(api, tmp_path / "out")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("bound", [{"largest_body": 2**18}, {"attempt": 0.3}], ids=["bytes", "seconds"])
def test_a_project_without_end_ends_before_any_work(tmp_path, monkeypatch, bound):
    monkeypatch.setattr(transport, "RequestLimits", lambda: RequestLimits(**bound))

    async def endless(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 2**14)
            await asyncio.sleep(0.001)

    with TinySynapse(rows()) as api:
        api.project = endless
        with pytest.raises(PreflightError, match="gives no answer in time"):
            export(api, tmp_path / "out")


async def packed_wrongly(_):
    return web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize("answer", [cut, reset, packed_wrongly])
def test_a_project_that_does_not_come_whole_ends_before_any_work(tmp_path, answer):
    with TinySynapse(rows()) as api:
        api.project = answer
        with pytest.raises(ExportError) as told:
            export(api, tmp_path / "out")
    assert told.value.exit_code in (1, 2)
    assert "\n" not in str(told.value)


def test_a_project_with_half_a_character_in_its_title_and_classes_is_exported(tmp_path):
    classes = b'{"classification":{"bounding_box":["car","b\\ud800"]}}'
    with TinySynapse(rows()) as api:
        api.project = (b'{"id":12,"title":"t\\udfff","configuration":%b}' % classes, 200)
        export(api, tmp_path / "out")
    assert summary(tmp_path / "out")["records"]["written"] == 6


@pytest.mark.parametrize("size", ["1e20", "1e300", "-1e300", "18446744073709551616", "0.5", "9" * 5000, "NaN"])
@pytest.mark.parametrize("where", ["size", "width"])
def test_a_size_that_is_none_counts_as_not_given(tmp_path, size, where):
    with TinySynapse([numbered(3)], spoil=replaced(where, size.encode())) as api:
        export(api, tmp_path / "out")
    assert summary(tmp_path / "out")["records"]["written"] == 1
    assert len(originals(tmp_path / "out")) == 1


@pytest.mark.parametrize("meta", [b"NaN", b'{"x":[-Infinity]}', DEEP, b'{"x":%b}' % (b"[" * 900 + b"]" * 900)])
def test_an_original_whose_meta_cannot_be_read_is_exported_all_the_same(tmp_path, meta):
    with TinySynapse([*rows(3), numbered(4)], spoil=replaced("meta", meta)) as api:
        export(api, tmp_path / "out")
    assert len(originals(tmp_path / "out")) == 4
    assert failures(tmp_path / "out") == []


def test_a_record_whose_files_cannot_be_read_fails_by_name(tmp_path):
    with TinySynapse([*rows(3), numbered(4)], spoil=replaced("meta", b"nothing")) as api:
        with pytest.raises(FailureLimitError, match="what the API says in data_unit is not JSON"):
            export(api, tmp_path / "out")
        export(api, tmp_path / "out", max_failures=1)
    (failure,) = failures(tmp_path / "out")
    assert (failure["record_id"], failure["reason"]) == (4, "PAYLOAD_UNAVAILABLE")
    assert summary(tmp_path / "out")["records"]["written"] == 3


SIGNED = {"presigned_url": f"https://files.example/1.json?X-Amz-Signature={SIGNATURE}", "size": 10}


@pytest.mark.parametrize(
    "data",
    [SIGNED, {"mode": "other", **SIGNED}, {"value": {"mode": "presigned", **SIGNED}}, [SIGNED], json.dumps(SIGNED)],
    ids=["without its mode", "of another mode", "inside of something", "in a list", "as a text"],
)
def test_a_wrapper_that_is_none_any_more_fails_by_name_and_its_url_is_written_nowhere(tmp_path, data):
    with TinySynapse([*rows(3), task(4, data)]) as api:
        export(api, tmp_path / "out", max_failures=1, formats=["synapse_json"], run={"keep_staging": True})
    (failure,) = failures(tmp_path / "out")
    assert (failure["record_id"], failure["reason"]) == (4, "MALFORMED_DOCUMENT")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 15
    assert not [path for path in files if SIGNATURE.encode() in path.read_bytes()]


NOT_UTF_8 = {
    "in a wrapper": (b'{"mode":"presigned","presigned_url":"\xe9"}', 3),
    "in a mode": (b'{"mode":"\xe9","data":{}}', 3),
    "in a document": (b'{"annotations":{"image_1":[{"id":"\xe9"}]}}', 3),
}


@pytest.mark.parametrize(("data", "written"), NOT_UTF_8.values(), ids=NOT_UTF_8)
def test_a_row_that_is_not_utf_8_fails_by_name(tmp_path, data, written):
    def spoil(page, request):
        if request.query.get("fields") == "id":
            return None
        results = [json.dumps(row).encode().replace(b'"HERE"', data) for row in page]
        return body(b'{"next":null,"results":[%b]}' % b",".join(results))

    with TinySynapse([*rows(3), task(4, "HERE")], spoil=spoil) as api:
        export(api, tmp_path / "out", max_failures=1)
    (failure,) = failures(tmp_path / "out")
    assert (failure["record_id"], failure["reason"]) == (4, "MALFORMED_DOCUMENT")
    assert summary(tmp_path / "out")["records"]["written"] == written


def test_a_file_name_that_is_not_utf_8_costs_its_record_alone(tmp_path):
    def spoil(page, request):
        if request.query.get("fields") == "id":
            return None
        results = [json.dumps(row).encode().replace(b"4.jpg", b"\xe9.jpg") for row in page]
        return body(b'{"next":null,"results":[%b]}' % b",".join(results))

    with TinySynapse(rows(4), spoil=spoil) as api:
        export(api, tmp_path / "out", max_failures=1)
    (failure,) = failures(tmp_path / "out")
    assert failure["record_id"] == 4
    assert len(originals(tmp_path / "out")) == 3


# Headers of answers


HEADERS = {
    "a start of 5,000 digits": {"Content-Range": f"bytes {'9' * 5000}-/*"},
    "no start": {"Content-Range": "bytes -"},
    "another start": {"Content-Range": "bytes 7-9/10"},
    "a part that nobody asked for": {"Content-Range": "bytes 0-3/1000"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_an_original_with_a_header_that_cannot_be_read_is_its_records_failure(tmp_path, headers):
    def fetch(request):
        return web.Response(status=206, body=b"half", headers=headers) if request.path == "/media/3.jpg" else None

    check_one_original_fails(tmp_path, fetch)


@pytest.mark.parametrize("tag", [b'"\xff\xfe"', b'"' + b"x" * 4000 + b'"'])
def test_a_cut_original_with_a_strange_etag_is_its_records_failure(tmp_path, tag):
    async def cut(request):
        response = web.StreamResponse(headers={"Content-Length": "1000", "ETag": tag.decode(errors="surrogateescape")})
        await response.prepare(request)
        await response.write(b"half of it")
        request.transport.close()
        return response

    check_one_original_fails(tmp_path, lambda request: cut(request) if request.path == "/media/3.jpg" else None)


@pytest.mark.parametrize(
    "value", ["9" * 5000, "nan", "Mon, 01 Jan 2024 00:00:00 +99999999", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_a_wait_that_cannot_be_read_is_its_records_failure(tmp_path, value):
    def fetch(request):
        return web.Response(status=503, headers={"Retry-After": value}) if request.path == "/media/3.jpg" else None

    check_one_original_fails(tmp_path, fetch)


def check_one_original_fails(tmp_path, fetch, words="IMAGE_MATERIALIZATION_FAILED"):
    with TinySynapse(rows(), fetch=fetch) as api:
        with pytest.raises(FailureLimitError, match=words):
            export(api, tmp_path / "out")
        export(api, tmp_path / "out", max_failures=1)
    (failure,) = failures(tmp_path / "out")
    assert (failure["record_id"], failure["reason"]) == (3, "IMAGE_MATERIALIZATION_FAILED")
    assert len(originals(tmp_path / "out")) == 5


def numbered(key):
    """A task in whose file :func:`replaced` puts other values."""
    row = task(key)
    row["data_unit"]["files"]["image_1"] |= {"size": "HERE_size", "meta": {"width": "HERE_width", "height": 480}}
    return row


def replaced(where, value):
    """A spoiler that puts ``value`` in the place ``where`` of :func:`numbered`, as it is written."""

    def spoil(page, request):
        if request.query.get("fields") == "id":
            return None
        results = []
        for row in page:
            text = json.dumps(row).encode()
            if where == "meta":
                text = text.replace(b'{"width": "HERE_width", "height": 480}', value)
            text = text.replace(b'"HERE_%b"' % where.encode(), value)
            results.append(text.replace(b'"HERE_size"', b"null").replace(b'"HERE_width"', b"null"))
        return body(b'{"next":null,"results":[%b]}' % b",".join(results))

    return spoil


# Files


def test_an_original_at_a_path_of_the_api_is_its_records_failure_and_never_asked_for(tmp_path):
    every = rows()
    every[2]["data_unit"]["files"]["image_1"]["url"] = "/users/me/"
    with TinySynapse(every) as api:
        with pytest.raises(FailureLimitError, match="the API's server keeps files below /media/ only"):
            export(api, tmp_path / "out")
        export(api, tmp_path / "out", max_failures=1)
        assert not [request for request in api.seen if request.path.startswith("/users/")]
    assert [failure["record_id"] for failure in failures(tmp_path / "out")] == [3]
    assert len(originals(tmp_path / "out")) == 5


NO_PICTURES = {
    "JSON": (b'{"detail": "Not found."}', "JSON came instead"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML came instead"),
    "S3": (b"<Error><Code>AccessDenied</Code></Error>", "XML came instead"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "XML came instead"),
    "a page": (b"<!DOCTYPE html><html></html>", "a web page came instead"),
    "a sentence": (b"Permission denied", "a text came instead"),
    "zeros": (bytes(5000), "nothing but zeros came instead"),
    "half a PNG": (picture(kind="PNG")[:-40], "the picture is cut off"),
    "half a WebP": (picture(kind="WEBP")[:-40], "the picture is cut off"),
    "the start of a JPEG": (picture()[:60], "the picture's header cannot be read"),
}


@pytest.mark.parametrize(("data", "words"), NO_PICTURES.values(), ids=NO_PICTURES)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_no_picture_is_its_records_failure(tmp_path, monkeypatch, data, words, streamed):
    if streamed:
        monkeypatch.setattr(workspace, "DEFAULT_LIMITS", SourceLimits(whole_file=10, stream_chunk=5))

    def fetch(request):
        return web.Response(body=data) if request.path == "/media/3.jpg" else None

    check_one_original_fails(tmp_path, fetch, words)


PICTURES = {
    "of a kind nobody reads": b"\x00\x00\x00\x18ftypheic" + bytes(200),
    "in words": b"P3\n1 1\n255\n1 2 3\n",
    "with bytes after its end": picture(kind="PNG") + b"\r\n",
    "PNG": picture(kind="PNG"),
    "WebP": picture(kind="WEBP"),
    "GIF": picture(kind="GIF"),
    "BMP": picture(kind="BMP"),
    "TIFF": picture(kind="TIFF"),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_what_may_be_a_picture_is_copied_as_it_is(tmp_path, data):
    with TinySynapse(rows(1), fetch=lambda _: web.Response(body=data)) as api:
        export(api, tmp_path / "out")
    (name,) = originals(tmp_path / "out")
    assert storage(tmp_path / "out").read(name) == data


JPEG = picture()
GZIP = gzip.compress(JPEG, mtime=0)
RAW = zlib.compress(JPEG)[2:-4]
PACKED = {
    "gzip": ("gzip", GZIP),
    "gzip of two parts": ("gzip", gzip.compress(JPEG[:300], mtime=0) + gzip.compress(JPEG[300:], mtime=0)),
    "deflate": ("deflate", zlib.compress(JPEG)),
    "deflate without a header": ("deflate", RAW),
    "not packed": ("identity", JPEG),
}
BADLY_PACKED = {
    "half": ("gzip", GZIP[: len(GZIP) // 2], "what it is packed in is cut off"),
    "without the end": ("gzip", GZIP[:-8], "what it is packed in is cut off"),
    "half of deflate": ("deflate", RAW[: len(RAW) // 2], "what it is packed in is cut off"),
    "of another checksum": ("gzip", GZIP[:-8] + bytes(8), "what it is packed in is damaged"),
    "followed by something": ("gzip", GZIP + b"something", "what it is packed in is damaged"),
    "not at all": ("gzip", JPEG, "what it is packed in is damaged"),
    "twice": ("gzip, gzip", gzip.compress(GZIP), "it is packed in a way that nobody asked for"),
    "as nobody can": ("x-unknown", JPEG, "it is packed in a way that nobody asked for"),
}


@pytest.mark.parametrize(("coding", "data"), PACKED.values(), ids=PACKED)
def test_an_original_that_comes_packed_is_unpacked(tmp_path, coding, data):
    with TinySynapse(rows(1), fetch=lambda _: web.Response(body=data, headers={"Content-Encoding": coding})) as api:
        export(api, tmp_path / "out")
    (name,) = originals(tmp_path / "out")
    assert storage(tmp_path / "out").read(name) == JPEG


@pytest.mark.parametrize(("coding", "data", "words"), BADLY_PACKED.values(), ids=BADLY_PACKED)
def test_an_original_that_is_packed_badly_is_its_records_failure(tmp_path, coding, data, words):
    def fetch(request):
        headers = {"Content-Encoding": coding}
        return web.Response(body=data, headers=headers) if request.path == "/media/3.jpg" else None

    check_one_original_fails(tmp_path, fetch, words)


def test_what_follows_a_badly_packed_original_is_not_taken_for_its_rest(tmp_path):
    """Its start was unpacked wrongly, and the same ETag said that the file is still the same."""
    wrong = gzip.compress(JPEG[:200] + bytes(300), mtime=0)[:-8]
    packed = web.Response(body=wrong, headers={"Content-Encoding": "gzip", "ETag": '"1"'})
    asked = []

    def fetch(request):
        asked.append(request.headers.get("Range"))
        return packed if len(asked) == 1 else web.Response(body=JPEG, headers={"ETag": '"1"'})

    with TinySynapse(rows(1), fetch=fetch) as api:
        export(api, tmp_path / "out")
    (name,) = originals(tmp_path / "out")
    assert asked == [None, None]
    assert storage(tmp_path / "out").read(name) == JPEG


# Rows that are left out


def test_documents_left_out_while_the_api_counts_them_fail_and_come_with_the_next_run(tmp_path):
    gone = set(range(1, 60, 2))

    def spoil(page, request):
        if not is_documents(request) or not gone.intersection(row["id"] for row in page):
            return None
        return web.json_response({"next": None, "results": [row for row in page if row["id"] not in gone]})

    with TinySynapse(rows(60), spoil=spoil) as api:
        with pytest.raises(FailureLimitError, match=r"30 of 60 records failed.*RECORD_VANISHED the API still has it"):
            export(api, tmp_path / "out", run={"page_size": 1})
        assert not (tmp_path / "out" / "_SUCCESS.json").exists()
        assert len(api.seen) < 600
        gone.clear()
        export(api, tmp_path / "out", run={"page_size": 1})
    assert summary(tmp_path / "out")["records"]["written"] == 60
    assert failures(tmp_path / "out") == []


def test_an_api_that_shows_no_document_ends_the_run(tmp_path):
    def spoil(page, request):
        return web.json_response({"next": None, "results": [], "count": 60}) if is_documents(request) else None

    with TinySynapse(rows(60), spoil=spoil) as api, pytest.raises(TransientError, match="leaves it out of its list"):
        export(api, tmp_path / "out", run={"page_size": 1})
    assert len(api.seen) < 1500  # three shards at once, each tried four times


def lose_half_after_the_plan(api):
    every = api.list.rows

    def spoil(page, request):
        if is_plan(request):
            api.list.rows = every[::2]

    api.list.spoil = spoil


def test_of_more_records_than_are_deleted_in_a_day_nobody_believes_that_they_vanished(tmp_path):
    with TinySynapse(rows(60)) as api:
        every = api.list.rows
        lose_half_after_the_plan(api)
        with pytest.raises(FailureLimitError, match=r"30 of 60 records failed.*RECORD_VANISHED it was planned"):
            export(api, tmp_path / "out", run={"page_size": 60})
        api.list.rows = every[:-5]
        export(api, tmp_path / "out", run={"page_size": 60})
    told = summary(tmp_path / "out")["records"]
    assert (told["written"], told["skipped"]) == (55, {"RECORD_VANISHED": 5})


def test_many_vanished_records_are_published_without_where_max_failures_allows_it(tmp_path):
    with TinySynapse(rows(60)) as api:
        lose_half_after_the_plan(api)
        export(api, tmp_path / "out", run={"page_size": 60}, max_failures=30)
    told = summary(tmp_path / "out")["records"]
    assert (told["written"], told["skipped"]) == (30, {"RECORD_VANISHED": 30})


def test_an_original_that_was_copied_and_then_fails_does_not_stay_without_its_labels(tmp_path):
    """A picture without labels is background to a trainer, and nothing listed it."""
    broken = {3}

    def fetch(request):
        return web.Response(status=503) if request.path == "/media/3.jpg" and 3 in broken else None

    def spoil(page, request):
        if "data_unit" not in request.query.get("fields", "") or 5 not in broken:
            return None
        shown = [{"id": row["id"], "data_unit": None if row["id"] == 5 else row["data_unit"]} for row in page]
        return web.json_response({"next": None, "results": shown})

    with TinySynapse(rows(), spoil=spoil, fetch=fetch) as api:
        with pytest.raises(FailureLimitError, match="1 of 6 records failed"):
            export(api, tmp_path / "out")
        assert "images/train/5.jpg" in originals(tmp_path / "out")
        broken.add(5)
        export(api, tmp_path / "out", max_failures=2)
    assert [failure["record_id"] for failure in failures(tmp_path / "out")] == [3, 5]
    assert {"images/train/5.jpg", "labels/train/5.txt"}.isdisjoint(
        path for path, _ in storage(tmp_path / "out").files()
    )
    verify(tmp_path / "out", full=True)


def test_originals_whose_rows_are_left_out_of_one_answer_are_copied(tmp_path):
    left_out = []

    def spoil(page, request):
        if "data_unit" not in request.query.get("fields", "") or left_out:
            return None
        left_out.append(request)
        return web.json_response({"next": None, "results": page[:2]})

    with TinySynapse(rows(), spoil=spoil) as api:
        export(api, tmp_path / "out")
    assert len(left_out) == 1
    assert sum(request.path.startswith("/media/") for request in api.seen) == 6
    assert len(originals(tmp_path / "out")) == 6


@pytest.mark.parametrize("always", [True, False])
def test_a_plan_that_ends_early_is_read_again_and_then_refused(tmp_path, always):
    ended = []

    def spoil(page, request):
        if not is_plan(request) or (ended and not always):
            return None
        ended.append(request)
        return web.json_response({"next": None, "results": [{"id": row["id"]} for row in page[:20]]})

    with TinySynapse(rows(60), spoil=spoil) as api:
        if always:
            with pytest.raises(BackendError, match="counts 60, but leaves 40 of them out") as told:
                export(api, tmp_path / "out")
            assert "\n" not in str(told.value)
            assert len(ended) == 3
            export(api, tmp_path / "out", max_failures=40)
        else:
            export(api, tmp_path / "out")
    assert summary(tmp_path / "out")["records"]["written"] == (20 if always else 60)


def test_rows_deleted_while_they_are_planned_are_not_missed(tmp_path):
    with TinySynapse(rows(60)) as api:
        every = api.list.rows

        def spoil(page, request):
            if request.query["page_size"] == "1":
                api.list.rows = every[3:]

        api.list.spoil = spoil
        export(api, tmp_path / "out")
        assert sum(is_plan(request) for request in api.seen) == 1
    assert summary(tmp_path / "out")["records"]["written"] == 57


# Lists without end


def test_a_link_that_leads_in_a_circle_ends_the_walk(tmp_path):
    def spoil(page, request):
        if is_documents(request):
            shown = [row for row in page if row["id"] != 3]
            return web.json_response({"next": str(request.url), "results": shown, "count": 6})
        return None

    with TinySynapse(rows(), spoil=spoil) as api:
        with pytest.raises(FailureLimitError, match="1 of 6 records failed"):
            export(api, tmp_path / "out")
        assert len(api.seen) < 40


@pytest.mark.parametrize("is_endless", [is_documents, is_plan], ids=["documents", "plan"])
def test_a_list_without_end_ends_the_run(tmp_path, is_endless):
    def spoil(page, request):
        if not is_endless(request):
            return None
        key = int(request.query.get("at") or request.query.get("id__lt") or 10**6) - 1
        following = str(request.url.update_query(at=key))
        return web.json_response({"next": following, "results": [{"id": key, "project": 12}]})

    with TinySynapse(rows(), spoil=spoil) as api:
        with pytest.raises(BackendError, match="report this to the server's operator") as told:
            export(api, tmp_path / "out")
        assert "\n" not in str(told.value)
        assert len(api.seen) < 3000


# Records of very many files


def lines_to_read_files(number, path):
    """How many lines run that read the files of a row, for an export of one record with a ``number`` of files."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if not frame.f_code.co_filename.endswith("row_files.py"):
            return None
        count += event == "line"
        return trace

    row = task(1)
    info = row["data_unit"]["files"]["image_1"]
    row["data_unit"]["files"] = [{**info, "url": f"/media/{index}.jpg"} for index in range(number)]
    with TinySynapse([row]) as api:
        threading.settrace(trace)  # rows are read in the thread of the client
        try:
            export(api, path)
        finally:
            threading.settrace(None)
    assert len(originals(path)) == number
    return count


def test_the_work_for_a_record_grows_as_its_files_do(tmp_path):
    few, many = lines_to_read_files(20, tmp_path / "few"), lines_to_read_files(80, tmp_path / "many")
    assert 0 < many < 6 * few
