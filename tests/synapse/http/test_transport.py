"""Retries, bounds, and where credentials go."""

import asyncio
import gzip
import json
import logging
import time
from dataclasses import replace

import pytest
from aiohttp import web

from pipeline.errors import AccessRefused, BackendError, ResponseTooLarge, TransientError, UrlExpired
from pipeline.model.backoff import Backoff
from pipeline.synapse.http.transport import Transport
from pipeline.synapse.http.tries import RequestLimits
from synapse.local_api import (
    QUICK,
    SIGNATURE,
    TOKEN,
    LocalApi,
    cut,
    everything_of,
    reset,
    scripted,
    signed,
    transport,
)

OK = web.json_response({"results": []})
HTML = web.Response(body=b"<html>Sign in</html>", content_type="text/html")
HALF = web.Response(body=b'{"results": [', content_type="application/json")


@pytest.fixture
def client():
    opened = []

    def make(api, **options):
        opened.append(transport(api, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def page(client, address="sdk/tasks/", **params):
    return client.run(client.fetch_page(address, params, json.loads))


def payload(client, url):
    return client.run(client.fetch_payload(url, bytes))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_a_status_that_may_pass_is_tried_again(client, status):
    with LocalApi(scripted(web.Response(status=status), OK)) as api:
        one = client(api)
        assert page(one) == {"results": []}
        assert (one.stats.requests, one.stats.retries) == (2, 1)


@pytest.mark.parametrize("trouble", [cut, reset, HTML, HALF], ids=["cut", "reset", "login page", "half a document"])
def test_a_broken_answer_is_tried_again(client, trouble):
    with LocalApi(scripted(trouble, trouble, OK)) as api:
        assert page(client(api)) == {"results": []}


def test_an_answer_that_never_ends_is_given_up(client):
    async def drip(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        while True:
            await response.write(b"1")
            await asyncio.sleep(0.05)

    with LocalApi(drip) as api, pytest.raises(TransientError, match="no complete answer in time"):
        page(client(api, limits=RequestLimits(Backoff(attempts=2, first=0.01), attempt=0.3)))


def test_the_deadline_ends_the_tries(client):
    with LocalApi(scripted(web.Response(status=503))) as api:
        one = client(api, limits=RequestLimits(Backoff(attempts=1000, first=0.05, longest=0.05), deadline=1.0))
        with pytest.raises(TransientError, match=r"gave up after \d+ tries: (HTTP 503|no complete answer in time)"):
            page(one)
        assert 3 <= len(api.seen) <= 50


def test_it_gives_up_after_the_last_try_and_says_what_was_wrong(client):
    with LocalApi(scripted(web.Response(status=520))) as api:
        with pytest.raises(TransientError, match=rf"^{api.url}/sdk/tasks/: gave up after 4 tries: HTTP 520$"):
            page(client(api), project="12")
        assert len(api.seen) == 4


def test_a_server_that_is_not_there_is_given_up_within_seconds(client):
    with LocalApi(scripted(OK)) as api:
        one = client(api)
    with pytest.raises(TransientError, match="cannot connect"):
        page(one)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 414, 422])
def test_a_refusal_is_final_and_there_is_no_storm(client, status):
    refusal = web.json_response({"detail": "Not you."}, status=status)
    with LocalApi(scripted(refusal)) as api:
        with pytest.raises(BackendError, match=f"HTTP {status}"):
            page(client(api))
        assert len(api.seen) == 1


def test_the_servers_own_words_are_passed_on(client):
    refusal = web.json_response({"project": ["A valid integer is required."]}, status=400)
    with LocalApi(scripted(refusal)) as api, pytest.raises(BackendError, match="A valid integer is required"):
        page(client(api))


def test_retry_after_is_honoured_up_to_its_cap_and_by_everyone(client):
    busy = web.Response(status=429, headers={"Retry-After": "7200"})
    with LocalApi(scripted(busy, OK)) as api:
        one = client(api)

        async def two():
            first = asyncio.create_task(one.fetch_page("a", {}, json.loads))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            await one.fetch_page("b", {}, json.loads)
            waited = time.monotonic() - started
            await first
            return waited

        assert 0.1 < one.run(two()) < 60  # and not two hours
        assert QUICK.backoff.longest_retry_after == 0.3


@pytest.mark.parametrize("value", ["-5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_a_strange_retry_after_does_no_harm(client, value):
    with LocalApi(scripted(web.Response(status=503, headers={"Retry-After": value}), OK)) as api:
        assert page(client(api)) == {"results": []}


def test_a_body_over_the_limit_is_not_read_to_the_end(client):
    limits = replace(QUICK, largest_body=10_000)
    with LocalApi(scripted(web.Response(body=b" " * 10_001))) as api, pytest.raises(ResponseTooLarge):
        page(client(api, limits=limits))
    with LocalApi(scripted(web.Response(body=b" " * 10_000))) as api:
        one = client(api, limits=limits)
        assert one.run(one.fetch_page("x", {}, len)) == 10_000


def test_a_bomb_is_measured_unpacked(client):
    bomb = gzip.compress(b" " * 10**8)
    assert len(bomb) < 10**6
    answer = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    with LocalApi(scripted(answer)) as api, pytest.raises(ResponseTooLarge):
        page(client(api, limits=replace(QUICK, largest_body=10**6)))


def test_packed_answers_are_unpacked(client):
    answer = web.Response(body=gzip.compress(b'{"results": []}'), headers={"Content-Encoding": "gzip"})
    with LocalApi(scripted(answer)) as api:
        assert page(client(api)) == {"results": []}


def test_no_more_requests_are_in_flight_than_allowed(client):
    async def slow(_):
        await asyncio.sleep(0.05)
        return web.json_response({})

    with LocalApi(slow) as api:
        one = client(api, requests=3)

        async def many():
            await asyncio.gather(*(one.fetch_page("x", {}, json.loads) for _ in range(12)))

        one.run(many())
        assert api.most_at_once == 3


def test_api_requests_carry_the_credentials_and_default_parameters(client):
    with LocalApi(scripted(OK)) as api:
        one = client(api, params={"url_host": "internal"})
        page(one, "sdk/tasks/", project="12", created__gte="2026-08-01T00:00:00+09:00")
        page(one, f"{api.url}/sdk/tasks/?cursor=abc%3D&project=12")
        page(one, f"{api.url}/sdk/tasks/?cursor=abc%3D&url_host=other")
        first, second, third = api.seen
    assert first.headers["Synapse-Access-Token"] == f"Token {TOKEN}"
    assert dict(first.query) == {
        "url_host": "internal",
        "project": "12",
        "created__gte": "2026-08-01T00:00:00+09:00",
    }
    assert dict(second.query) == {"url_host": "internal", "cursor": "abc=", "project": "12"}
    assert third.query["url_host"] == "other"


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.2:{port}/sdk/tasks/?page=2",
        "https://127.0.0.1:{port}/sdk/tasks/?page=2",
        "http://127.0.0.1:1/sdk/tasks/?page=2",
        "//127.0.0.2:{port}/sdk/tasks/",
        "http://127.0.0.1:{port}@127.0.0.2:{port}/",
        "http://user@127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "http://127.0.0.1.evil.example/",
        "http://[/",
    ],
)
def test_a_link_to_another_server_is_refused_and_nothing_is_sent(client, link):
    with LocalApi(scripted(OK)) as api:
        port = api.url.rpartition(":")[2]
        with pytest.raises(BackendError):
            page(client(api), link.format(port=port))
        assert api.seen == []


def test_behind_a_proxy_that_ends_tls_links_lead_back_to_https():
    one = Transport("https://api.example.com")
    try:
        url = one.urls.of_request("http://api.example.com/sdk/tasks/?cursor=x", {})
        assert str(url) == "https://api.example.com/sdk/tasks/?cursor=x"
    finally:
        one.close()


def test_a_base_address_with_a_path_is_kept(client):
    with LocalApi(scripted(OK)) as api:
        one = Transport(api.url + "/synapse/", limits=QUICK)
        page(one, "sdk/tasks/")
        page(one, f"{api.url}/synapse/sdk/tasks/?page=2")
        page(one, "/synapse/sdk/tasks/?page=3")
        payload(one, "/media/a.jpg")
        one.close()
        paths = [str(request.rel_url) for request in api.seen]
    assert paths == [
        "/synapse/sdk/tasks/",
        "/synapse/sdk/tasks/?page=2",
        "/synapse/sdk/tasks/?page=3",
        "/synapse/media/a.jpg",
    ]


def test_redirects_are_not_followed(client):
    with LocalApi(scripted(OK), host="127.0.0.2") as other:
        away = web.Response(status=302, headers={"Location": other.url})
        with LocalApi(scripted(away)) as api:
            with pytest.raises(BackendError, match="HTTP 302"):
                page(client(api))
            with pytest.raises(BackendError, match="HTTP 302"):
                payload(client(api), signed(api))
            assert len(api.seen) == 2
        assert other.seen == []


def test_a_presigned_url_gets_no_credentials_and_stays_as_it_is(client):
    with LocalApi(scripted(web.Response(body=b"[]"))) as api:
        one = client(api, params={"url_host": "internal"})
        assert payload(one, f"{api.url}/a%2Fb%20c.json?X-Sig=a%2Bb%3D&list=1,2") == b"[]"
        (request,) = api.seen
    assert request.raw_path == "/a%2Fb%20c.json?X-Sig=a%2Bb%3D&list=1,2"
    assert not any("synapse" in name.lower() or name.lower() == "authorization" for name in request.headers)


def test_a_path_of_the_apis_own_server_gets_the_credentials(client):
    with LocalApi(scripted(web.Response(body=b"[]"))) as api:
        payload(client(api), "/media/files/a.json?x=1")
        (request,) = api.seen
    assert request.path_qs == "/media/files/a.json?x=1"
    assert request.headers["Synapse-Access-Token"] == f"Token {TOKEN}"


@pytest.mark.parametrize("name", ["X-Amz-Signature", "X-Goog-Signature", "Signature", "sig", "X-Sig"])
def test_a_signed_path_of_the_apis_own_server_gets_no_credentials(client, name):
    with LocalApi(scripted(web.Response(body=b"[]"))) as api:
        payload(client(api), f"/media/files/a.json?x=1&{name}=abc")
        (request,) = api.seen
    assert request.path_qs == f"/media/files/a.json?x=1&{name}=abc"
    assert not any("synapse" in name.lower() or name.lower() == "authorization" for name in request.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/users/me/",
        "users/me/",
        "/media/../users/me/",
        "/media/%2e%2e/users/me/",
        "/media/..%2Fusers/me/",
        "/media/%252e%252e/users/me/",
        "/media/..\\users/me/",
        "/media",
        "/mediax/a.jpg",
        "/MEDIA/../sdk/tasks/",
        "",
    ],
)
def test_a_path_of_the_api_is_no_file(client, path):
    with LocalApi(scripted(web.Response(body=b"[]"))) as api:
        with pytest.raises(BackendError, match="is not the path of a file"):
            payload(client(api), path)
        assert api.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http:///x",
    ],
)
def test_an_address_that_no_file_is_behind_is_not_asked(client, url):
    with LocalApi(scripted(OK)) as api:
        with pytest.raises(BackendError):
            payload(client(api), url)
        assert api.seen == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_presigned_url_that_is_refused_has_run_out(client, status):
    with LocalApi(scripted(web.Response(status=status))) as api:
        with pytest.raises(UrlExpired, match=f"HTTP {status}"):
            payload(client(api), signed(api))
        assert len(api.seen) == 1


def test_an_object_that_is_gone_is_not_asked_for_again(client):
    with LocalApi(scripted(web.Response(status=404))) as api:
        with pytest.raises(BackendError, match="no such object"):
            payload(client(api), signed(api))
        assert len(api.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        cut,
        reset,
        HTML,
        web.Response(status=500),
        web.Response(status=403),
        web.Response(status=404),
        web.Response(status=302, headers={"Location": f"http://127.0.0.2/?sig={SIGNATURE}"}),
        web.json_response({"detail": f"Token {TOKEN} at http://x/?sig={SIGNATURE} is unknown"}, status=400),
    ],
)
def test_no_message_shows_a_token_or_a_signature(client, answer, caplog):
    caplog.set_level(logging.DEBUG)
    with LocalApi(scripted(answer)) as api:
        one = client(api)
        for address in (f"{api.url}/sdk/tasks/?cursor={SIGNATURE}", "sdk/tasks/"):
            with pytest.raises((BackendError, TransientError)) as caught:
                page(one, address, secret=SIGNATURE)
            assert SIGNATURE not in everything_of(caught.value)
            assert TOKEN not in everything_of(caught.value)
        with pytest.raises((BackendError, TransientError)) as caught:
            one.run(one.fetch_payload(signed(api), json.loads))
        assert SIGNATURE not in everything_of(caught.value)
        with pytest.raises(BackendError) as caught:
            payload(one, f"http://[?X-Sig={SIGNATURE}")
        assert SIGNATURE not in everything_of(caught.value)
    assert SIGNATURE not in caplog.text
    assert TOKEN not in caplog.text


BYTES = bytes(range(250)) * 400


async def whole(_):
    return web.Response(body=BYTES)


async def ranged(request):
    part = request.http_range
    said = f"bytes {part.start}-{part.stop - 1}/{len(BYTES)}"
    return web.Response(status=206, body=BYTES[part], headers={"Content-Range": said})


async def always_the_start(_):
    return web.Response(status=206, body=BYTES[:1000], headers={"Content-Range": f"bytes 0-999/{len(BYTES)}"})


@pytest.mark.parametrize("start", [0, 7, 99_500])
@pytest.mark.parametrize("answer", [whole, ranged])
def test_a_part_of_a_file_is_read_even_when_the_server_ignores_ranges(client, answer, start):
    with LocalApi(answer) as api:
        one = client(api)
        assert one.run(one.fetch_range(signed(api), 1000, start=start)) == (BYTES[start : start + 1000], len(BYTES))


def test_another_part_of_a_file_than_the_one_asked_for_is_not_taken(client):
    with LocalApi(always_the_start) as api:
        one = client(api)
        assert one.run(one.fetch_range(signed(api), 1000, start=7)) == (b"", len(BYTES))
    with LocalApi(scripted(web.Response(status=416))) as api:
        one = client(api)
        assert one.run(one.fetch_range(signed(api), 1000)) == (b"", None)


def test_a_server_that_ignores_ranges_is_not_read_for_a_part_far_behind(client):
    with LocalApi(whole) as api:
        one = client(api)
        assert one.run(one.fetch_range(signed(api), 1000, start=2**40)) == (b"", len(BYTES))
        assert one.stats.bytes == 0


def test_it_works_inside_a_running_event_loop(client):
    with LocalApi(scripted(OK)) as api:
        one = client(api)
        assert page(one) == {"results": []}

        async def notebook():
            return page(one)

        assert asyncio.run(notebook()) == {"results": []}
        assert page(one) == {"results": []}

        async def failing():
            return page(one, "http://127.0.0.2/")

        with pytest.raises(BackendError):
            asyncio.run(failing())


@pytest.mark.parametrize("url", ["api.synapse.sh", "ftp://host", "http://", ""])
def test_a_base_address_must_be_one(url):
    with pytest.raises(ValueError, match="http"):
        Transport(url)


def test_the_number_in_flight_falls_with_what_the_server_accepts_and_recovers(client):
    accepted = 4
    in_flight = []

    async def busy(_):
        in_flight.append(api._open)
        status = 429 if api._open > accepted else 200
        await asyncio.sleep(0.02)
        return web.json_response({}, status=status)

    with LocalApi(busy) as api:
        one = client(api, requests=16, limits=replace(QUICK, backoff=Backoff(attempts=50, first=0.01, longest=0.05)))

        async def many(number):
            await asyncio.gather(*(one.fetch_page("x", {}, json.loads) for _ in range(number)))

        one.run(many(160))
        crowded = in_flight[-40:]
        accepted = 16
        one.run(many(500))
    assert max(in_flight[:20]) == 16
    assert max(crowded) <= 8
    assert max(in_flight[-60:]) == 16


def test_an_original_that_drips_is_given_up_however_large_it_says_it_is(client):
    async def drip(request):
        response = web.StreamResponse(headers={"Content-Length": str(2**29)})
        await response.prepare(request)
        while True:
            await response.write(b"1")
            await asyncio.sleep(0.05)

    class Nowhere:
        received, etag, expected = 0, "", 2**29

        async def begin(self, size):
            assert size == 2**29

        async def write(self, chunk):
            assert len(chunk) < 1000

    with LocalApi(drip) as api, pytest.raises(TransientError, match="no complete answer in time"):
        one = client(api, limits=RequestLimits(Backoff(attempts=2, first=0.01), attempt=0.3))
        one.run(one.fetch_original(f"{api.url}/a.mp4", Nowhere()))
    assert len(api.seen) == 2


def test_requests_that_wait_for_a_slot_wait_out_a_retry_after_too(client):
    arrived = []

    async def busy_at_first(_):
        arrived.append(time.monotonic())
        status = 429 if len(arrived) == 1 else 200
        return web.json_response({}, status=status, headers={"Retry-After": "0.3"})

    with LocalApi(busy_at_first) as api:
        one = client(api, requests=1)

        async def three():
            await asyncio.gather(*(one.fetch_page("x", {}, json.loads) for _ in range(3)))

        one.run(three())
    assert len(arrived) == 4
    assert arrived[1] - arrived[0] >= 0.3


@pytest.mark.parametrize("status", [401, 403])
def test_after_the_token_is_refused_nothing_more_is_asked(client, status):
    async def refuse(_):
        await asyncio.sleep(0.05)
        return web.json_response({}, status=status)

    with LocalApi(refuse) as api:
        one = client(api, requests=3)

        async def many():
            return await asyncio.gather(
                *(one.fetch_page("x", {}, json.loads) for _ in range(30)), return_exceptions=True
            )

        errors = one.run(many())
        assert {type(error) for error in errors} == {AccessRefused}
        assert len(api.seen) == 3
        with pytest.raises(AccessRefused):  # later work asks again: there may be access by then
            page(one)
        assert len(api.seen) == 4
