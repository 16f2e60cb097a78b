"""Every planned record comes out exactly once and complete, however the API pages, wraps, fails and changes."""

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial

import msgspec
import pytest
from aiohttp import web

from pipeline.errors import BackendError, ConfigError, CredentialsError, PreflightError, TransientError
from pipeline.model.backoff import Backoff
from pipeline.model.shards import unpack_keys
from pipeline.model.source import Wanted
from pipeline.reasons import Reason
from pipeline.sandbox import FORBIDDEN_PROJECT, Fault, Sandbox, SandboxOptions
from pipeline.synapse import extractor
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.http.transport import Transport
from pipeline.synapse.http.tries import RequestLimits
from pipeline.synapse.limits import DEFAULT_LIMITS, SourceLimits
from pipeline.synapse.source import Source
from synapse.local_api import QUICK, TOKEN, LocalApi, TinyList, document, scripted, task

TARGETS = ("task", "assignment", "ground_truth")
PATIENT = RequestLimits(
    Backoff(attempts=12, first=0.01, longest=0.05, jitter=0.5, longest_retry_after=0.2),
    idle=0.5,
    attempt=0.7,
    deadline=30,
)


def filter_of(target):
    return {"ground_truth_dataset_version": 99} if target == "ground_truth" else {"project": 12}


@pytest.fixture
def connect(monkeypatch):
    opened = []

    def make(
        server, target="task", *, token=TOKEN, page_size=7, requests=8, limits=QUICK, sizes=DEFAULT_LIMITS, **more
    ):
        monkeypatch.setenv("SYNAPSE_HOST", server.url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", getattr(server, "token", token))
        opened.append(SynapseClient.from_environment(requests=requests, limits=limits))
        source = Source(opened[-1], target, {**filter_of(target), **more}, page_size=page_size, limits=sizes)
        source.client = opened[-1]
        return source

    yield make
    for client in opened:
        client.close()


def planned(source, size=16):
    return source.plan(size, lambda _: None)


def extracted(source, shards=None, *, needs_payload=True):
    shards = planned(source) if shards is None else shards
    return [record for shard in shards for record in source.extract(shard, needs_payload=needs_payload)]


def keys_of(shards):
    return [key for shard in shards for key in unpack_keys(shard.keys).tolist()]


def reasons_of(records):
    return Counter(failure.reason for record in records for failure in record.failures)


def tasks(server_rows, **options):
    return LocalApi(TinyList(server_rows, **options))


# The same samples, whatever the API is like


@pytest.fixture(scope="module", params=["cursor", "page"])
def sandboxes(request):
    """The same 40 records by one kind of pagination, with their documents in rows, behind URLs, and mixed."""
    options = [
        SandboxOptions(profile="tidy", records=40, payload=payload, pagination=request.param)
        for payload in ("raw", "presigned", "mixed")
    ]
    running = [Sandbox(option).start() for option in options]
    yield running
    for sandbox in running:
        sandbox.stop()


@pytest.mark.parametrize("target", TARGETS)
def test_every_way_of_paging_and_wrapping_gives_the_same_samples(connect, sandboxes, target):
    first = None
    for sandbox in sandboxes:
        sandbox.clear_requests()
        source = connect(sandbox, target)
        truth = sandbox.truth(target)
        shards = planned(source)
        records = extracted(source, shards)
        assert [shard.index for shard in shards] == list(range(len(shards)))
        assert [shard.count for shard in shards] == [16, 16, 8]
        assert keys_of(shards) == [record.record.id for record in records] == [told.key for told in truth]
        for record, told in zip(records, truth, strict=True):
            assert not record.failures
            (sample,) = record.samples
            (media,) = told.media
            assert {annotation.id for annotation in sample.annotations} == {thing.id for thing in media.things}
            assert record.seen == len(media.things)
            assert (sample.width, sample.height) == (media.width, media.height)
            assert sample.file.name == media.file_name
            assert sample.file.primary
            assert sample.file.spec == ("" if target == "assignment" else "image_1")
            assert record.record.category == (told.category or "")
            assert set(msgspec.json.decode(record.record.payload)) >= {"annotations", "annotationsData"}
        samples = [record.samples for record in records]
        first = first or samples
        assert samples == first
        assert all(not request["ignored_keys"] for request in sandbox.requests())
        assert b"X-Sig" not in msgspec.msgpack.encode((shards, records))


def test_neither_shards_nor_pages_change_what_comes_out(connect, nasty):
    expected = extracted(connect(nasty, page_size=100), planned(connect(nasty), 1000))
    for page_size, shard_size in ((1, 50), (3, 1000), (40, 7)):
        source = connect(nasty, page_size=page_size)
        assert extracted(source, planned(source, shard_size)) == expected


@pytest.mark.parametrize("target", TARGETS)
def test_of_malformed_data_every_record_and_every_annotation_is_accounted_for(connect, nasty, target):
    source = connect(nasty, target, page_size=25)
    records = extracted(source)
    truth = nasty.truth(target)
    assert [record.record.id for record in records] == [told.key for told in truth]
    for record, told in zip(records, truth, strict=True):
        annotations = [annotation for sample in record.samples for annotation in sample.annotations]
        assert record.seen == len(annotations) + sum(
            1 for failure in record.failures if failure.media and failure.outcome != "corrected"
        )
        assert record.samples or record.failures
        assert all(failure.record_id == record.record.id for failure in record.failures)
        if told.kind == "tidy":
            assert len(annotations) == len(told.annotations)
            assert not record.failures


def test_a_payload_is_only_kept_when_a_format_wants_it(connect, tidy):
    records = extracted(connect(tidy), needs_payload=False)
    assert all(not record.record.payload and not record.record.files for record in records)


# Plan


def test_shards_are_exact_and_progress_counts_every_record(connect, tidy):
    source, counted = connect(tidy), []
    shards = source.plan(25, counted.append)
    assert source.count() == sum(counted) == source.plan_report.listed == 60
    assert [shard.count for shard in shards] == [25, 25, 10]
    assert keys_of(shards) == sorted(set(keys_of(shards)))


def test_nothing_to_export_is_no_shards(connect, tidy):
    for target, more in (("task", {"project": FORBIDDEN_PROJECT}), ("ground_truth", {"classes": "no-such-class"})):
        source = connect(tidy, target, **more)
        assert source.count() == 0
        assert planned(source) == []


@pytest.mark.parametrize("pagination", ["cursor", "page"])
def test_a_long_list_is_walked_in_stretches(connect, pagination):
    connect = partial(connect, sizes=SourceLimits(page=10, rows_per_walk=20))
    with Sandbox(SandboxOptions(records=150, pagination=pagination)) as sandbox:
        source = connect(sandbox, id__gte=1010, id__lt=1300)
        expected = [told.key for told in sandbox.truth("task") if 1010 <= told.key < 1300]
        assert source.count() == len(expected)
        assert keys_of(planned(source)) == expected
        stretches = {request["query"].get("id__lt") for request in sandbox.requests()}
        assert len(stretches) > 4
        assert all(not request["ignored_keys"] for request in sandbox.requests())
        assert [record.record.id for record in extracted(source)] == expected


@pytest.mark.parametrize(
    "more",
    [
        {"status_label": "completed"},
        {"ids": [1010, 1013, 1014, 1015, 1100, 1101]},
        {"id__in": "1010,1013,1014,1015,1100"},
        {"ids_ex": [1010, 1013, 1014]},
        {"id__gt": 1010, "id__lte": 1100},
        {"id": 1014},
        {"tags": [1, 2], "is_discarded": False},
    ],
)
def test_a_filter_decides_what_is_planned_and_all_of_that_is_fetched(connect, tidy, more):
    tidy.clear_requests()
    source = connect(tidy, **more)
    shards = planned(source)
    records = extracted(source, shards)
    assert 0 < source.count() == len(records) < 60
    assert all(record.samples for record in records)
    assert all(not request["ignored_keys"] for request in tidy.requests())


def test_rows_that_come_twice_are_planned_once(connect):
    with Sandbox(SandboxOptions(records=30, faults=(Fault(route="pages", kind="duplicate_row"),))) as sandbox:
        source = connect(sandbox)
        records = extracted(source)
        assert [record.record.id for record in records] == [told.key for told in sandbox.truth("task")]
        assert source.plan_report.duplicates == 1


def test_a_backend_that_ignores_ranges_is_found_out(connect):
    connect = partial(connect, sizes=SourceLimits(page=5))
    rows = [task(number) for number in range(1, 40)]
    with tasks(rows, has_ranges=False) as api, pytest.raises(BackendError, match="ignores id__lt"):
        planned(connect(api))


def test_a_list_out_of_order_is_not_believed(connect):
    async def unordered(_):
        return web.json_response({"next": None, "results": [{"id": 5}, {"id": 9}]})

    with LocalApi(unordered) as api, pytest.raises(TransientError, match="order"):
        planned(connect(api))


@pytest.mark.parametrize("target", TARGETS)
def test_a_sample_of_the_newest_records_can_be_extracted(connect, tidy, target):
    source = connect(tidy, target)
    shard = source.sample(9)
    expected = [told.key for told in tidy.truth(target)][-9:]
    assert [record.record.id for record in extracted(source, [shard]) if record.samples] == expected
    assert connect(tidy, project=FORBIDDEN_PROJECT).sample(5).count == 0


# Ground truth, which has no ranges


def events(number=25):
    return [{**task(n), "id": 500 + n // 2, "pgh_id": 900 + n, "category": "train"} for n in range(number)]


@pytest.mark.parametrize(
    ("ids_select", "has_models", "has_cursors"),
    [("pgh_id", False, False), ("id", True, False), (None, False, True)],
    ids=["ids of events", "ids of models", "no ids"],
)
def test_ground_truth_is_asked_in_whatever_way_the_backend_understands(connect, ids_select, has_models, has_cursors):
    with LocalApi(TinyList(events(), key="pgh_id", ids_select=ids_select, has_ranges=False)) as api:
        source = connect(api, "ground_truth", page_size=4)
        shards = planned(source, 10)
        assert keys_of(shards) == list(range(900, 925))
        assert all(bool(shard.models) is has_models and bool(shard.cursors) is has_cursors for shard in shards)
        records = extracted(source, shards)
        assert [record.record.id for record in records] == list(range(900, 925))
        assert all(record.samples[0].annotations for record in records)
        assert all(record.record.category == "train" for record in records)


def test_shards_of_several_pages_know_which_record_is_on_which(connect):
    connect = partial(connect, sizes=SourceLimits(page=10))
    with LocalApi(TinyList(events(), key="pgh_id", ids_select=None, has_ranges=False)) as api:
        source = connect(api, "ground_truth", page_size=3)
        shards = planned(source, 15)
        assert [(shard.count, len(shard.cursors)) for shard in shards] == [(9, 2), (16, 2)]
        asked = len(api.seen)
        records = extracted(source, shards)
        assert all(record.samples for record in records)
        assert [record.record.id for record in records] == list(range(900, 925))
        assert len(api.seen) - asked <= 12
        wanted = [Wanted(key, "image_9", str(key)) for key in (900, 903, 913, 924)]
        results = source.copy_originals(shards[0], wanted, None, None)
        assert ["no longer lists" in result.detail for _, result in results] == [False, False, True, True]


def test_ground_truth_without_ids_and_cursors_is_refused(connect):
    with (
        LocalApi(TinyList(events(), key="pgh_id", ids_select=None, has_cursor=False, has_ranges=False)) as api,
        pytest.raises(BackendError, match="neither cursors nor an ids filter"),
    ):
        planned(connect(api, "ground_truth"))


def test_ground_truth_by_cursors_survives_new_and_lost_rows(connect):
    options = SandboxOptions(records=50, ids_filter_ground_truth=False)
    with Sandbox(options) as sandbox:
        source = connect(sandbox, "ground_truth", page_size=6)
        shards = planned(source, 12)
        assert sum(shard.count for shard in shards) == 50
        keys = keys_of(shards)
        assert keys == [told.key for told in sandbox.truth("ground_truth")]
        assert all("://" not in cursor and "fields" not in cursor for shard in shards for cursor in shard.cursors)
        sandbox.add_records("ground_truth", 9)
        sandbox.delete_records("ground_truth", [keys[-1], keys[20]])
        records = extracted(source, shards)
    assert [record.record.id for record in records] == keys
    assert [record.record.id for record in records if not record.samples] == [keys[20], keys[-1]]


def test_ground_truth_that_changes_while_page_numbers_are_walked_is_walked_again(connect):
    connect = partial(connect, sizes=SourceLimits(page=5))
    rows = TinyList(events(), key="pgh_id", ids_select="pgh_id", has_cursor=False, has_ranges=False)

    def vanish(page, request):
        if request.query.get("at") == "10" and len(rows.rows) == 25:
            del rows.rows[0]

    rows.spoil = vanish
    with LocalApi(rows) as api:
        source, counted = connect(api, "ground_truth"), []
        shards = source.plan(10, counted.append)
        assert keys_of(shards) == list(range(900, 924))
        assert source.plan_report.listed == 24


# Rows that vanish, appear, or belong elsewhere


@pytest.mark.parametrize("target", TARGETS)
def test_what_vanished_is_reported_and_what_is_new_is_left_out(connect, target):
    with Sandbox(SandboxOptions(records=30)) as sandbox:
        source = connect(sandbox, target)
        shards = planned(source)
        keys = keys_of(shards)
        gone = [keys[0], keys[7], keys[8], keys[29]]
        sandbox.delete_records(target, gone)
        sandbox.add_records(target, 5)
        records = extracted(source, shards)
    assert [record.record.id for record in records] == keys
    vanished = [record for record in records if not record.samples]
    assert [record.record.id for record in vanished] == gone
    for record in vanished:
        (failure,) = record.failures
        assert (failure.reason, failure.outcome, failure.transient) == (Reason.RECORD_VANISHED, "skipped", False)


def test_a_row_left_out_of_one_answer_is_asked_for_again(connect):
    with Sandbox(SandboxOptions(records=30)) as sandbox:
        source = connect(sandbox)
        shards = planned(source)
        sandbox.set_faults([Fault(route="pages", kind="missing_row", at=(1,))])
        records = extracted(source, shards)
        assert sum(entry["fault"] == "missing_row" for entry in sandbox.requests()) == 1
    assert all(record.samples for record in records)


def test_a_row_of_another_project_is_not_exported(connect):
    with tasks([task(1), task(2, project=13), task(3, project={"id": 13}), task(4, project={"id": 12})]) as api:
        records = extracted(connect(api))
    assert [bool(record.samples) for record in records] == [True, False, False, True]
    assert reasons_of(records) == {Reason.RECORD_FOREIGN: 2}
    assert all(failure.outcome == "failed" for record in records for failure in record.failures)


@pytest.mark.parametrize("foreign", [7, {"id": 7}])
def test_events_of_another_ground_truth_dataset_are_refused_before_work(connect, foreign):
    rows = [{**row, "ground_truth_dataset": foreign if row["pgh_id"] == 905 else 209} for row in events()]
    listed = TinyList(rows, key="pgh_id", ids_select="pgh_id", has_ranges=False)

    async def answer(request):
        if request.path.startswith("/ground_truth_dataset_versions/"):
            return web.json_response({"id": 99, "version": 1, "ground_truth_dataset": 209})
        return await listed(request)

    with LocalApi(answer) as api:
        source = connect(api, "ground_truth")
        source.check()
        with pytest.raises(BackendError, match="events of other ground truth datasets than 209"):
            planned(source)


def test_a_foreign_link_is_not_followed_for_documents_either(connect):
    with LocalApi(scripted(web.json_response({})), host="127.0.0.2") as other:

        def spoil(page, request):
            body = {"next": f"{other.url}/sdk/tasks/", "results": page[:1]}
            return web.json_response(body) if "fields" not in request.query else None

        with tasks([task(number) for number in range(1, 10)], spoil=spoil) as api:
            source = connect(api)
            shards = planned(source)
            with pytest.raises(BackendError, match="another server"):
                extracted(source, shards)
        assert other.seen == []


def test_a_foreign_link_ends_the_plan(connect):
    connect = partial(connect, sizes=SourceLimits(page=10))
    with Sandbox(SandboxOptions(records=30, faults=(Fault(route="pages", kind="foreign_next"),))) as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with LocalApi(scripted(web.json_response({})), host="127.0.0.2", port=port) as other:
            with pytest.raises(BackendError, match="another server"):
                planned(connect(sandbox, "ground_truth"))
            assert other.seen == []


# Trouble


@pytest.mark.parametrize(
    "kind", ["429", "500", "502", "503", "520", "524", "reset", "cut", "html", "empty", "badjson", "hang"]
)
def test_passing_trouble_changes_nothing(connect, kind):
    faults = tuple(Fault(route=route, kind=kind, times=2, each=True, value=0.1) for route in ("pages", "payloads"))
    with Sandbox(SandboxOptions(records=30, payload="mixed", faults=faults)) as sandbox:
        source = connect(sandbox, limits=PATIENT, page_size=5)
        records = extracted(source)
        assert [record.record.id for record in records] == [told.key for told in sandbox.truth("task")]
        assert all(record.samples and not record.failures for record in records)
        assert sum(bool(entry["fault"]) for entry in sandbox.requests()) > 5


def test_a_damaged_payload_is_fetched_again_when_its_digest_tells(connect):
    faults = (Fault(route="payloads", kind="corrupt", each=True, times=1),)
    with Sandbox(SandboxOptions(records=20, payload="presigned", faults=faults)) as sandbox:
        records = extracted(connect(sandbox))
        assert sum(record.seen for record in records) == sum(len(t.annotations) for t in sandbox.truth("task"))
        assert not reasons_of(records)


def test_a_payload_that_stays_damaged_fails_alone(connect):
    with Sandbox(SandboxOptions(records=20, payload="presigned")) as sandbox:
        source = connect(sandbox)
        shards = planned(source)
        bad = sandbox.truth("task")[7]
        sandbox.set_faults([Fault(route="payloads", kind="corrupt", match=f"{bad.index:08d}")])
        records = extracted(source, shards)
    (failed,) = [record for record in records if record.failures]
    assert failed.record.id == bad.key
    assert failed.failures[0].reason == Reason.PAYLOAD_CORRUPT
    assert failed.failures[0].transient
    assert "SHA-256" in failed.failures[0].detail or "bytes" in failed.failures[0].detail


def test_a_document_that_was_labelled_anew_since_its_row_was_listed_is_taken_with_its_new_digest(connect, monkeypatch):
    with Sandbox(SandboxOptions(records=20, payload="presigned")) as sandbox:
        source = connect(sandbox)
        before = sandbox.truth("task")
        late = next(truth for truth in before if truth.annotations)
        fetch, waiting = Transport.fetch_payload, [late.key]

        async def fetch_after_a_change(self, address, *arguments, **options):
            if f"{late.index:08d}" in address and waiting:
                await asyncio.to_thread(sandbox.change_records, "task", [waiting.pop()])
            return await fetch(self, address, *arguments, **options)

        monkeypatch.setattr(Transport, "fetch_payload", fetch_after_a_change)
        records = extracted(source)
        after = sandbox.truth("task")
    assert not reasons_of(records)
    assert sum(record.seen for record in records) == sum(len(truth.annotations) for truth in after)
    assert sum(len(truth.annotations) for truth in after) == sum(len(truth.annotations) for truth in before) - 1


@pytest.mark.parametrize(
    ("kind", "reason", "transient"),
    [
        ("payload_wrong_digest", Reason.PAYLOAD_CORRUPT, True),
        ("payload_wrong_size", Reason.PAYLOAD_CORRUPT, True),
        ("payload_gone", Reason.PAYLOAD_UNAVAILABLE, False),
        ("payload_truncated_without_url", Reason.PAYLOAD_UNAVAILABLE, False),
        ("deep_json", Reason.MALFORMED_DOCUMENT, False),
        ("lone_surrogate", Reason.MALFORMED_DOCUMENT, False),
        ("data_null", Reason.NULL_DATA_DETECTED, False),
        ("data_empty", Reason.NULL_DATA_DETECTED, False),
    ],
)
def test_a_document_that_cannot_be_had_fails_alone_with_its_reason(connect, kind, reason, transient):
    with Sandbox(SandboxOptions(profile="nasty", kinds=(kind,), records=12, payload="presigned")) as sandbox:
        records = extracted(connect(sandbox))
        truth = sandbox.truth("task")
    for record, told in zip(records, truth, strict=True):
        assert bool(record.samples) is (told.kind == "tidy")
        if told.kind == kind:
            (failure,) = record.failures
            assert (failure.reason, failure.transient, failure.media) == (reason, transient, "")
            assert "://" not in failure.detail
            assert failure.outcome == ("skipped" if reason == Reason.NULL_DATA_DETECTED else "failed")


def test_urls_that_run_out_are_issued_again(connect):
    options = SandboxOptions(records=30, payload="presigned", url_ttl=0.4, blob_latency=0.1)
    with Sandbox(options) as sandbox:
        source = connect(sandbox, requests=2, page_size=30)
        records = extracted(source)
        assert all(record.samples and not record.failures for record in records)
        refused = [entry for entry in sandbox.requests() if entry["status"] == 403]
        again = [q for entry in sandbox.requests() if (q := entry["query"]).get("id__gte") == q.get("id__lte", "")]
        assert refused
        assert len(again) == len(refused)


@pytest.mark.parametrize("target", TARGETS)
def test_a_url_that_never_works_fails_its_record_after_three_new_ones(connect, target):
    with Sandbox(SandboxOptions(records=10, payload="presigned")) as sandbox:
        bad = sandbox.truth(target)[4]
        sandbox.set_faults([Fault(route="payloads", kind="403", match=f"{bad.index:08d}")])
        source = connect(sandbox, target)
        records = extracted(source)
        (failed,) = [record for record in records if record.failures]
        assert failed.record.id == bad.key
        assert failed.failures[0].reason == Reason.PAYLOAD_UNAVAILABLE
        assert failed.failures[0].transient
        assert sum(entry["status"] == 403 for entry in sandbox.requests()) == 1 + extractor.REISSUES


def test_a_page_that_is_too_large_is_asked_for_in_halves(connect):
    rows = [task(number) for number in range(1, 31)]
    rows[11] = task(12, data={**document("a"), "more": "x" * 60_000})
    with tasks(rows) as api:
        shards = planned(connect(api, page_size=30), 100)
        records = extracted(connect(api, page_size=30, limits=replace(QUICK, largest_body=5_000)), shards)
    assert [record.record.id for record in records if not record.samples] == [12]
    (failure,) = records[11].failures
    assert (failure.reason, failure.transient) == (Reason.PAYLOAD_UNAVAILABLE, False)


def test_where_rows_are_large_fewer_are_asked_for_at_a_time(connect):
    rows = [task(number, data={**document("a"), "more": "x" * 10_000}) for number in range(1, 61)]
    with tasks(rows) as api:
        source = connect(api, page_size=20, requests=1, sizes=SourceLimits(shared_page=60_000))
        shards = planned(source, 100)
        asked = len(api.seen)
        records = extracted(source, shards)
        assert all(record.samples for record in records)
        assert len(api.seen) - asked <= 4 + 60 // 5 + 2


def test_one_record_that_breaks_every_page_it_is_on_fails_alone(connect):
    def spoil(page, request):
        if "fields" not in request.query and any(row["id"] == 12 for row in page):
            return web.Response(status=500)
        return None

    with tasks([task(number) for number in range(1, 31)], spoil=spoil) as api:
        records = extracted(connect(api, page_size=30))
    assert [record.record.id for record in records if not record.samples] == [12]
    (failure,) = records[11].failures
    assert (failure.reason, failure.transient) == (Reason.PAYLOAD_UNAVAILABLE, True)


def test_in_a_list_by_cursors_a_broken_page_loses_only_what_is_behind_it(connect):
    def spoil(page, request):
        if "fields" not in request.query and any(row["pgh_id"] == 905 for row in page):
            return web.Response(status=500)
        return None

    rows = TinyList(events(), key="pgh_id", ids_select=None, has_ranges=False, spoil=spoil)
    with LocalApi(rows) as api:
        records = extracted(connect(api, "ground_truth", page_size=8))
    assert [record.record.id for record in records if record.samples] == list(range(906, 925))
    assert all(record.failures[0].transient for record in records if not record.samples)


@pytest.mark.parametrize("dead", ["server", "list", "object store"])
def test_when_nothing_works_it_is_not_blamed_on_the_records(connect, dead):
    options = SandboxOptions(records=40, payload="presigned")
    with Sandbox(options) as sandbox:
        source = connect(sandbox)
        shards = planned(source, 40)
        if dead == "list":
            sandbox.set_faults([Fault(route="pages", kind="500", match="response_mode")])
        elif dead == "object store":
            sandbox.set_faults([Fault(route="payloads", kind="503")])
        else:
            sandbox.stop()
        with pytest.raises(TransientError):
            source.extract(shards[0], needs_payload=False)


def test_a_token_that_is_revoked_ends_the_work_at_once(connect):
    with Sandbox(SandboxOptions(records=60, page_latency=0.05)) as sandbox:
        source = connect(sandbox, requests=4, page_size=2)
        shards = planned(source, 60)
        sandbox.clear_requests()
        sandbox.revoke_token()
        with pytest.raises(BackendError, match="no longer accepted"):
            source.extract(shards[0], needs_payload=False)
        assert len(sandbox.requests()) <= 8  # of 30: those in flight, and those that took their slots


# Sizes


@pytest.mark.parametrize("target", TARGETS)
def test_a_size_that_is_only_in_the_picture_is_looked_up_there(connect, target):
    kinds = ("size_in_header_only", "size_in_meta_only", "meta_missing", "exif_rotated")
    with Sandbox(SandboxOptions(profile="nasty", kinds=kinds, records=16)) as sandbox:
        records = extracted(connect(sandbox, target))
        truth = sandbox.truth(target)
        looked = [entry for entry in sandbox.requests() if entry["path"].startswith("/blobs/files/")]
    for record, told in zip(records, truth, strict=True):
        assert [(s.width, s.height) for s in record.samples] == [(m.width, m.height) for m in told.media]
    assert len(looked) == sum(told.kind == "size_in_header_only" for told in truth)
    assert all(entry["headers"]["range"] == "bytes=0-65535" for entry in looked)


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        (web.Response(status=404), []),
        (web.Response(body=b"no picture"), []),
        (web.Response(status=500), [(Reason.SOURCE_IMAGE_INVALID, True)]),
    ],
    ids=["gone", "no picture", "trouble"],
)
def test_a_size_that_cannot_be_found_stays_unknown(connect, answer, failures):
    rows = TinyList([task(1, data=document("a", size=None))])

    async def serve(request):
        return await rows(request) if request.path.startswith("/sdk/") else await scripted(answer)(request)

    with LocalApi(serve) as api:
        (record,) = extracted(connect(api))
    (sample,) = record.samples
    assert (sample.width, sample.height) == (None, None)
    assert len(sample.annotations) == record.seen == 1
    assert [(failure.reason, failure.transient) for failure in record.failures] == failures


def test_a_mask_is_checked_against_the_size_that_was_found(connect):
    data = document("a", size=None)
    data["annotations"]["image_1"][0]["tool"] = "segmentation"
    data["annotationsData"]["image_1"] = [
        {"id": "a", "pixel_indices": [[10_000_000, 5]], "isCompressed": True, "compressionFormat": "rle"}
    ]
    rows = TinyList([task(1, data=data)])
    picture = b"BM" + bytes(12) + (40).to_bytes(4, "little") + b"\x80\x02\0\0\xe0\x01\0\0\x01\0\x18\0" + bytes(24)

    async def serve(request):
        return await rows(request) if request.path.startswith("/sdk/") else web.Response(body=picture)

    with LocalApi(serve) as api:
        (record,) = extracted(connect(api))
    assert (record.samples[0].width, record.samples[0].height) == (640, 480)
    assert reasons_of([record]) == {Reason.INVALID_MASK_ENCODING: 1}
    assert record.seen == 1


# Checks before work


def test_a_wrong_filter_is_refused_before_anything_is_sent(connect, tidy):
    tidy.clear_requests()
    with pytest.raises(ConfigError, match="did you mean 'workshops'"):
        connect(tidy, workshop=614)
    assert tidy.requests() == []


@pytest.mark.parametrize("target", TARGETS)
def test_check_finds_the_project_and_its_classes(connect, tidy, target):
    project = connect(tidy, target).check()
    assert (project.id, project.title, project.warning) == (12, "Dashcam 2026", "")
    assert project.classes[:2] == ("car", "bus")


@pytest.mark.parametrize(
    ("target", "more", "words"),
    [
        ("task", {"project": 999}, "project 999"),
        ("assignment", {"project": FORBIDDEN_PROJECT}, "refuses access"),
        ("ground_truth", {"ground_truth_dataset_version": 999}, "version 999"),
    ],
)
def test_what_is_not_there_or_not_ours_is_refused_in_one_line(connect, tidy, target, more, words):
    with pytest.raises(PreflightError, match=words) as caught:
        connect(tidy, target, **more).check()
    assert "\n" not in str(caught.value)


def test_a_wrong_token_is_refused(connect, tidy):
    with LocalApi(scripted(web.json_response({}, status=401))) as api, pytest.raises(CredentialsError):
        connect(api).check()


def test_a_dead_host_is_a_failed_check_not_passing_trouble(connect, tidy):
    with LocalApi(scripted(web.Response(status=503))) as api, pytest.raises(PreflightError, match="answered HTTP 503"):
        connect(api).check()


@pytest.mark.parametrize(
    ("version", "dataset", "words"),
    [
        ({"id": 99, "version": "1.2.0"}, {}, "does not say which dataset"),
        ({"id": 99, "version": "1.2.0", "ground_truth_dataset": 209}, {"project_id": None}, "has no project"),
        ({"id": 99, "version": "1.2.0", "ground_truth_dataset": {"id": 209}}, None, "209"),
    ],
)
def test_ground_truth_without_a_known_project_is_a_warning(connect, version, dataset, words):
    async def answer(request):
        if request.path.startswith("/ground_truth_dataset_versions/"):
            return web.json_response(version)
        return web.json_response(dataset, status=404 if dataset is None else 200)

    with LocalApi(answer) as api:
        project = connect(api, "ground_truth").check()
    assert project.id is None
    assert project.classes == ()
    assert words in project.warning
    assert "1.2.0" in project.title
