"""Lists: filters, order, pages and cursors behave as the real backend does (contract, sections 3 and 4)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

PATHS = {
    "task": "/sdk/tasks/",
    "assignment": "/sdk/assignments/",
    "ground_truth": "/sdk/ground_truth_events/",
}


def scope(sandbox, target):
    if target == "ground_truth":
        return {"ground_truth_dataset_versions": sandbox.version_id}
    return {"project": sandbox.project_id}


def key(target, row):
    return row["pgh_id" if target == "ground_truth" else "id"]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize("size", [7, 20, 1000])
def test_a_cursor_walk_is_exact_and_has_no_count(tidy, get, walk, target, size):
    ordering = "-pgh_id" if target == "ground_truth" else "-id"
    query = {"pagination": "cursor", "ordering": ordering, "page_size": size, **scope(tidy, target)}
    rows = walk(tidy, PATHS[target], **query)
    assert [key(target, row) for row in rows] == [record.key for record in reversed(tidy.truth(target))]
    assert "count" not in get(tidy, PATHS[target], **query).json()


def test_an_ascending_cursor_walk_gives_the_same_rows_in_reverse(tidy, walk):
    query = {"pagination": "cursor", "page_size": 9, "project": tidy.project_id}
    up = walk(tidy, "/sdk/tasks/", ordering="id", **query)
    assert up == walk(tidy, "/sdk/tasks/", ordering="-id", **query)[::-1]


def test_a_page_walk_counts_and_ends_with_404(tidy, get, walk):
    rows = walk(tidy, "/sdk/tasks/", project=tidy.project_id, page_size=25)
    first = get(tidy, "/sdk/tasks/", project=tidy.project_id, page_size=25).json()
    assert sorted(row["id"] for row in rows) == [record.key for record in tidy.truth("task")]
    assert first["count"] == 60
    assert first["previous"] is None
    past = get(tidy, "/sdk/tasks/", project=tidy.project_id, page_size=25, page=4)
    assert (past.status_code, past.json()) == (404, {"detail": "Invalid page."})


def test_next_links_follow_the_host_the_client_used(tidy, get):
    headers = {"Synapse-Access-Token": f"Token {tidy.token}", "Host": "tunnel.example:1234"}
    answer = get(tidy, "/sdk/tasks/", headers=headers, page_size=5).json()
    assert answer["next"].startswith("http://tunnel.example:1234/sdk/tasks/?")


def test_an_old_backend_ignores_the_cursor(start, get):
    answer = get(start(pagination="page"), "/sdk/tasks/", pagination="cursor", ordering="-id").json()
    assert answer["count"] == 33


def test_a_cursor_over_created_loses_the_rest_of_a_tie(tidy, walk):
    rows = walk(tidy, "/sdk/tasks/", pagination="cursor", page_size=10, project=tidy.project_id)
    assert 0 < len({row["id"] for row in rows}) < 60


def test_a_cursor_walk_misses_nothing_when_rows_vanish(start, walk):
    sandbox = start(records=60)
    keys = [record.key for record in sandbox.truth("task")]
    vanishing = iter([keys[50:54], keys[30:33]])
    rows = walk(
        sandbox,
        "/sdk/tasks/",
        between=lambda: sandbox.delete_records("task", next(vanishing, [])),
        pagination="cursor",
        ordering="id",
        page_size=10,
        project=sandbox.project_id,
    )
    assert [row["id"] for row in rows] == [k for k in keys if k not in keys[50:54] + keys[30:33]]


def test_a_page_walk_misses_rows_when_rows_vanish(start, walk):
    """The trap of offset pages (reliability F7), so that clients can be tested against it."""
    sandbox = start(records=60)
    keys = [record.key for record in sandbox.truth("task")]
    vanishing = iter([keys[:4]])
    rows = walk(
        sandbox,
        "/sdk/tasks/",
        between=lambda: sandbox.delete_records("task", next(vanishing, [])),
        ordering="id",
        page_size=10,
        project=sandbox.project_id,
    )
    assert {row["id"] for row in rows} == set(keys) - set(keys[10:14])


def test_records_labelled_anew_have_other_documents_and_the_same_pictures(start, walk):
    sandbox = start(records=20)
    before = sandbox.truth("task")
    wanted = [before[number].key for number in (4, 10)]

    def listed():
        rows = walk(sandbox, "/sdk/tasks/", project=sandbox.project_id, ordering="id", expand="data_unit")
        return [(row["data"], row["data_unit"]["id"], row["data_unit"]["meta"]) for row in rows]

    then = listed()
    sandbox.change_records("task", wanted)
    for old, new, row, was in zip(before, sandbox.truth("task"), listed(), then, strict=True):
        assert len(old.annotations) - len(new.annotations) == (old.key in wanted)
        assert (row[0] != was[0]) == (old.key in wanted)
        assert row[1:] == was[1:]


def test_added_records_come_behind_the_others(start, walk):
    sandbox = start()
    before = [record.key for record in sandbox.truth("task")]
    added = sandbox.add_records("task", 5)
    rows = walk(sandbox, "/sdk/tasks/", project=sandbox.project_id, ordering="id")
    assert [row["id"] for row in rows] == before + added
    assert min(added) > max(before)


def test_without_a_project_filter_rows_of_other_projects_come_too(tidy, get):
    assert get(tidy, "/sdk/tasks/", page_size=1).json()["count"] == 63
    rows = get(tidy, "/sdk/tasks/", project=13).json()["results"]
    assert {row["project"] for row in rows} == {13}


@pytest.mark.parametrize(
    ("target", "query"),
    [
        ("assignment", {"task": "1006"}),
        ("assignment", {"workshops": "614"}),
        ("task", {"workshop": "614"}),
        ("task", {"created_after": "2030-01-01"}),
        ("task", {"has_data": "true"}),
        ("task", {"status": "completed"}),
        ("ground_truth", {"id__in": "5"}),
        ("ground_truth", {"id": "5"}),
        ("ground_truth", {"pgh_id__lt": "5"}),
    ],
)
def test_unknown_keys_are_ignored_with_200_and_logged(start, get, target, query):
    sandbox = start(records=20)
    answer = get(sandbox, PATHS[target], **scope(sandbox, target), **query)
    assert answer.status_code == 200
    assert answer.json()["count"] == 20
    assert sandbox.requests()[-1]["ignored_keys"] == list(query)


def test_filters_narrow_to_what_the_rows_say(tidy, walk):
    rows = walk(tidy, "/sdk/assignments/", project=tidy.project_id)
    for name, query, test in (
        ("status", {"status_label": "completed"}, lambda row: row["status_label"] == "completed"),
        ("users", {"users": "7, 8\t"}, lambda row: row["user"] in (7, 8)),
        ("tags", {"tags": "1"}, lambda row: 1 in row["tags"]),
        ("confirmed", {"is_confirmed": "True"}, lambda row: row["is_confirmed"]),
        ("tasks", {"tasks": str(rows[3]["task"]["id"])}, lambda row: row["task"]["id"] == rows[3]["task"]["id"]),
        ("date", {"created__gte": rows[20]["created"]}, lambda row: row["created"] >= rows[20]["created"]),
        ("empty value", {"last_labeled__gte": ""}, lambda _: True),
    ):
        expected = {row["id"] for row in rows if test(row)}
        assert expected, name
        found = {row["id"] for row in walk(tidy, "/sdk/assignments/", project=tidy.project_id, **query)}
        assert found == expected, name


def test_key_ranges_and_key_lists_are_exact(tidy, walk):
    keys = [record.key for record in tidy.truth("task")]
    query = {"project": tidy.project_id, "ordering": "id"}
    ranged = walk(tidy, "/sdk/tasks/", id__gte=keys[5], id__lt=keys[20], **query)
    assert [row["id"] for row in ranged] == keys[5:20]
    open_range = walk(tidy, "/sdk/tasks/", id__gt=keys[5], id__lte=keys[20], **query)
    assert [row["id"] for row in open_range] == keys[6:21]
    listed = walk(tidy, "/sdk/tasks/", ids=f"{keys[7]},{keys[3]},1", **query)
    assert [row["id"] for row in listed] == [keys[3], keys[7]]
    assert len(walk(tidy, "/sdk/tasks/", ids_ex=f"{keys[7]},{keys[3]}", **query)) == 58


def test_of_repeated_keys_the_last_one_counts(tidy, get):
    keys = [record.key for record in tidy.truth("task")]
    answer = get(tidy, f"/sdk/tasks/?ids={keys[0]}&ids={keys[1]}").json()
    assert [row["id"] for row in answer["results"]] == [keys[1]]


def test_a_value_that_is_no_number_is_400_with_the_field_name(tidy, get):
    answer = get(tidy, "/sdk/tasks/", project="abc")
    assert (answer.status_code, answer.json()) == (400, {"project": ["Enter a number."]})


@pytest.mark.parametrize(("honoured", "count"), [(True, 2), (False, 30)])
def test_ids_of_ground_truth_are_honoured_or_ignored_as_asked(start, get, honoured, count):
    sandbox = start(ids_filter_ground_truth=honoured)
    ids = ",".join(str(record.key) for record in sandbox.truth("ground_truth")[:2])
    answer = get(sandbox, "/sdk/ground_truth_events/", ground_truth_dataset_versions=99, ids=ids)
    assert answer.json()["count"] == count
    assert sandbox.requests()[-1]["ignored_keys"] == ([] if honoured else ["ids"])


def test_ground_truth_is_scoped_by_version_in_both_spellings(tidy, get):
    for name in ("ground_truth_dataset_version", "ground_truth_dataset_versions"):
        counts = [get(tidy, "/sdk/ground_truth_events/", **{name: v}).json()["count"] for v in (99, 98, 97)]
        assert counts[0] == 60
        assert 0 < counts[1] < 60
        assert counts[2] == 3


def test_tasks_have_files_only_when_expanded(tidy, get):
    plain, expanded = (
        get(tidy, "/sdk/tasks/", project=12, page_size=1, **query).json()["results"][0]["data_unit"]
        for query in ({}, {"expand": "data_unit"})
    )
    assert expanded["id"] == plain
    assert expanded["files"]["image_1"]["url"].startswith(tidy.url)


def test_fields_project_rows(tidy, get):
    rows = get(tidy, "/sdk/tasks/", fields="id", page_size=3).json()["results"]
    assert [set(row) for row in rows] == [{"id"}] * 3
    row = get(tidy, "/sdk/tasks/", fields="id,data_unit", expand="data_unit", page_size=1).json()["results"][0]
    assert set(row) == {"id", "data_unit"}
    row = get(tidy, "/sdk/ground_truth_events/", fields="pgh_id", page_size=1).json()["results"][0]
    assert set(row) == {"pgh_id"}


def test_the_slim_variants_have_their_shapes(tidy, get):
    data = get(tidy, "/sdk/assignments/data/", page_size=1).json()["results"][0]
    assert set(data) == {"id", "data"}
    file = get(tidy, "/sdk/assignments/files/", page_size=1).json()["results"][0]["file"]
    assert {"url", "file_name_original", "meta"} <= set(file)
    files = get(tidy, "/sdk/ground_truth_events/files/", page_size=1).json()["results"][0]["files"]
    assert files[0]["file_specification"] == "image_1"
    assert "image_1" in get(tidy, "/sdk/tasks/files/", page_size=1).json()["results"][0]["files"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Token {token}"},
        {"Synapse-Access-Token": "{token}"},
        {"Synapse-Access-Token": "Token wrong"},
        {"Authorization": "Token {user}"},
    ],
)
def test_wrong_credentials_are_401(tidy, get, headers):
    sent = {name: value.format(token=tidy.token, user=tidy.user_token) for name, value in headers.items()}
    assert get(tidy, "/agents/", headers=sent).status_code == 401


def test_v2_wants_the_raw_token(tidy, get):
    raw = {"SYNAPSE-ACCESS-TOKEN": tidy.token}
    assert get(tidy, "/v2/users/me/", headers=raw).json()["data"]["id"] == 7
    assert get(tidy, "/v2/ground-truth-datasets/209/", headers=raw).json()["data"]["project_id"] == 12
    assert get(tidy, "/v2/projects/", headers=raw).json()["data"][0]["title"] == "Dashcam 2026"
    assert get(tidy, "/v2/users/me/").status_code == 401


def test_a_revoked_token_is_401_until_restored(start, get):
    sandbox = start(records=3)
    sandbox.revoke_token()
    assert get(sandbox, "/agents/").status_code == 401
    sandbox.restore_token()
    assert get(sandbox, "/agents/").status_code == 200


def test_the_log_shows_requests_without_secrets(start, get):
    sandbox = start(records=3)
    row = get(sandbox, "/sdk/tasks/", expand="data_unit").json()["results"][0]
    get(sandbox, row["data_unit"]["files"]["image_1"]["url"])
    entries = sandbox.requests()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in entries] == [
        ("GET", "/sdk/tasks/", 200),
        ("GET", entries[1]["path"], 200),
    ]
    assert entries[0]["headers"]["synapse-access-token"] == "Token ***"
    assert entries[0]["bytes"] > 1000
    assert sandbox.token not in str(entries)
    assert row["data_unit"]["files"]["image_1"]["url"].partition("X-Sig=")[2] not in str(entries)
    assert get(sandbox, "/__sandbox__/log").json()[0]["path"] == "/sdk/tasks/"
    sandbox.clear_requests()
    assert sandbox.requests() == []


def test_too_many_open_requests_are_429(start, get):
    sandbox = start(max_concurrency=0, records=3)
    answer = get(sandbox, "/sdk/tasks/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def test_deep_pages_end_in_cloudflares_524(start, get):
    sandbox = start(offset_latency=50.0, records=6)
    answer = get(sandbox, "/sdk/tasks/", page=3, page_size=2)
    assert (answer.status_code, answer.headers["Content-Type"]) == (524, "text/html; charset=utf-8")


def test_projects_come_in_pages_of_both_apis(start, get, walk):
    sandbox = start(records=3, more_projects=120)
    raw, newer, cursor, sizes = {"SYNAPSE-ACCESS-TOKEN": sandbox.token}, [], "", []
    while cursor is not None:
        told = get(sandbox, "/v2/projects/", headers=raw, cursor=cursor).json()
        newer += told["data"]
        sizes.append(len(told["data"]))
        cursor = told["meta"]["pagination"]["next_cursor"]
    assert sizes == [50, 50, 22]
    older = walk(sandbox, "/projects/", page_size=50)
    assert [row["title"] for row in older] == [row["title"] for row in newer]
    assert {"보행자 검출 1", "🚗 주차장 2", "Crossing [bold red]markup[/] 3"} <= {row["title"] for row in newer}
    assert get(sandbox, "/projects/", page=9).status_code == 404
    assert get(sandbox, f"/projects/{older[-1]['id']}/").json()["title"] == older[-1]["title"]


def test_lists_of_the_v2_api(tidy, get):
    raw = {"SYNAPSE-ACCESS-TOKEN": tidy.token}

    def listed(path):
        return get(tidy, path, headers=raw).json()["data"]

    assert [row["code"] for row in listed("/v2/tenants/")] == [tidy.tenant]
    assert [row["id"] for row in listed("/v2/ground-truth-datasets/")] == [209, 210]
    assert [row["id"] for row in listed("/v2/ground-truth-datasets/?project=13")] == [210]
    assert len(listed("/v2/projects/12/tags/")) == 4
    assert get(tidy, "/v2/projects/987/tags/", headers=raw).status_code == 404


def test_storages_by_category(tidy, get):
    assert [row["id"] for row in get(tidy, "/storages/").json()["results"]] == [11, 12]
    assert [row["id"] for row in get(tidy, "/storages/?category=internal").json()["results"]] == [11]
    assert "configuration" not in get(tidy, "/storages/12/").json()


def test_the_clock_of_the_server_can_be_wrong(start, get):
    sandbox = start(records=3, clock=7200.0)
    told = parsedate_to_datetime(get(sandbox, "/agents/").headers["Date"])
    assert 7100 < (told - datetime.now(UTC)).total_seconds() < 7300
