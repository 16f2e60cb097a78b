"""Lists by name, from servers of every kind: they end, they stay on the server, and they give what they can."""

import itertools

import pytest
from aiohttp import web

from pipeline.errors import BackendError, CredentialsError, PreflightError, TransientError
from pipeline.synapse import directory
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.directory import Directory
from synapse.local_api import QUICK, TOKEN, LocalApi


@pytest.fixture
def listed(monkeypatch):
    """``listed(api)`` are the lists of a server."""
    opened = []

    def make(api):
        monkeypatch.setenv("SYNAPSE_HOST", api.url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
        opened.append(SynapseClient.from_environment(limits=QUICK))
        return Directory(opened[-1])

    yield make
    for client in opened:
        client.close()


def serve(newer=None, older=None):
    """A server with the v2 API, the v1 API or both; each is a function from a request to JSON, or a response."""

    async def answer(request):
        api = newer if request.path.startswith("/v2/") else older
        told = api(request) if api else web.json_response({"detail": "Not found."}, status=404)
        return told if isinstance(told, web.Response) else web.json_response(told)

    return LocalApi(answer)


def v2(rows, cursor=None):
    return {"data": rows, "meta": {"request_id": "r", "pagination": {"next_cursor": cursor}}}


def test_a_cursor_alone_and_the_address_of_a_page_are_both_followed(listed):
    def newer(request):
        cursor = request.query.get("cursor")
        following = {None: "b c=&?", "b c=&?": f"http://{request.host}/v2/projects/?cursor=last", "last": None}[cursor]
        return v2([{"id": {None: 1, "b c=&?": 2, "last": 3}[cursor]}], following)

    with serve(newer) as api:
        found = listed(api).projects()
        assert [row["id"] for row in found.rows] == [1, 2, 3]
        assert found.is_complete
        assert [request.query.get("per_page") for request in api.seen] == ["200", "200", None]
        for request in api.seen:
            assert request.headers["Synapse-Access-Token"] == TOKEN  # raw, as the v2 API wants it


def test_a_v2_list_without_an_envelope_is_read(listed):
    with serve(lambda _: {"results": [{"id": 1}], "next": None, "previous": None}) as api:
        assert len(listed(api).datasets(None).rows) == 1


def test_the_older_api_gives_links(listed):
    def older(request):
        page = int(request.query.get("page", 1))
        following = f"http://{request.host}/projects/?page={page + 1}&page_size=200" if page < 4 else None
        return {"count": 4, "next": following, "previous": None, "results": [{"id": page}]}

    with serve(None, older) as api:
        assert [row["id"] for row in listed(api).projects().rows] == [1, 2, 3, 4]
        assert api.seen[1].headers["Synapse-Access-Token"] == f"Token {TOKEN}"


def test_a_list_without_end_is_cut_and_says_so(listed, monkeypatch):
    monkeypatch.setattr(directory, "MOST_PAGES", 7)
    numbers = itertools.count(1)
    with serve(lambda _: v2([{"id": next(numbers)}], f"cursor-{next(numbers)}")) as api:
        found = listed(api).projects()
        assert (len(found.rows), found.is_complete, len(api.seen)) == (7, False, 7)


def test_a_list_that_leads_in_a_circle_is_left(listed):
    with serve(lambda _: v2([{"id": 1}], "again")) as api:
        found = listed(api).projects()
        assert (len(api.seen), found.is_complete) == (2, False)


def test_a_link_to_another_server_is_not_followed(listed):
    def older(_):
        return {"count": 2, "next": "http://127.0.0.2:9/projects/?page=2", "results": [{"id": 1}]}

    with serve(None, older) as api, pytest.raises(BackendError, match="another server") as caught:
        listed(api).projects()
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("answer", [{"results": 5}, {"data": "x", "meta": {}}, {}, [5, None, "x"]])
def test_an_answer_that_is_no_list_is_one_line_or_no_row(listed, answer):
    with serve(lambda _: answer, lambda _: answer) as api:
        lists = listed(api)
        if isinstance(answer, list):
            assert lists.storages().rows == ()
        else:
            with pytest.raises((BackendError, PreflightError)) as caught:
                lists.storages()
            assert "\n" not in str(caught.value)


def test_rows_of_another_project_or_dataset_are_left_out(listed):
    """As of a server that ignores a key that it does not know."""

    def older(request):
        key = "project" if "tags" in request.path else "ground_truth_dataset"
        return {"next": None, "results": [{"id": 1, key: 12}, {"id": 2, key: {"id": 13}}, {"id": 3, key: {"id": 12}}]}

    with serve(None, older) as api:
        assert [row["id"] for row in listed(api).tags(12).rows] == [1, 3]
        assert [row["id"] for row in listed(api).versions(13).rows] == [2]


def test_the_older_api_has_the_last_word(listed):
    with serve(
        lambda _: web.json_response({"detail": "no"}, status=401), lambda _: {"next": None, "results": [{"id": 1}]}
    ) as api:
        assert len(listed(api).projects().rows) == 1
    refusing = serve(lambda _: web.json_response({}, status=401), lambda _: web.json_response({}, status=401))
    with refusing as api, pytest.raises(CredentialsError):
        listed(api).projects()


def test_a_server_in_trouble_is_not_asked_in_other_words(listed):
    with serve(lambda _: web.json_response({}, status=503), lambda _: {"results": []}) as api:
        with pytest.raises(TransientError):
            listed(api).projects()
        assert {request.path for request in api.seen} == {"/v2/projects/"}
