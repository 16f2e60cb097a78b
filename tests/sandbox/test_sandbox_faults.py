"""Faults happen when they were asked for, and only then."""

import socket
import time
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from urllib.parse import urlsplit

import pytest
import requests

from pipeline.errors import ConfigError
from pipeline.sandbox import Fault, SandboxOptions, parse_fault
from pipeline.sandbox.faults import FaultInjector
from pipeline.sandbox.server import Server


def hits(fault, count=20, url="/sdk/tasks/", seed=1):
    injector = FaultInjector(seed, (fault,))
    return [number for number in range(1, count + 1) if injector.pick("pages", url)]


def test_faults_hit_the_requests_they_name():
    assert hits(Fault(route="pages", at=(2, 5))) == [2, 5]
    assert hits(Fault(route="pages", every=6)) == [6, 12, 18]
    assert hits(Fault(route="pages", times=3)) == [1, 2, 3]
    assert hits(Fault(route="pages", every=6, times=2)) == [6, 12]
    assert hits(Fault(route="any")) == list(range(1, 21))
    assert hits(Fault(route="api")) == []
    assert hits(Fault(route="pages", match="assignments")) == []


def test_a_rate_is_seeded():
    fault = Fault(route="pages", rate=0.3)
    assert hits(fault, 1000) == hits(fault, 1000)
    assert hits(fault, 1000) != hits(fault, 1000, seed=2)
    assert 240 < len(hits(fault, 1000)) < 360


def test_each_counts_per_url():
    injector = FaultInjector(1, (Fault(route="payloads", times=1, each=True),))
    outcome = [bool(injector.pick("payloads", url)) for url in ("a", "b", "a", "b", "c")]
    assert outcome == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("pages:503", Fault(route="pages", kind="503")),
        ("pages:429:every=7:value=2", Fault(route="pages", kind="429", every=7, value=2.0)),
        ("payloads:cut:at=1,4:each", Fault(route="payloads", kind="cut", at=(1, 4), each=True)),
        ("any:reset:rate=0.25:match=0007", Fault(route="any", kind="reset", rate=0.25, match="0007")),
        ("originals:slow:times=2", Fault(route="originals", kind="slow", times=2)),
    ],
)
def test_faults_have_a_text_form(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["nowhere:503", "pages:777", "pages:503:every=x", "pages:503:never=1", "pages"])
def test_wrong_fault_texts_are_refused(text):
    with pytest.raises(ConfigError):
        parse_fault(text)


@pytest.mark.parametrize("status", ["401", "403", "429", "500", "502", "503", "504", "520", "524"])
def test_status_faults_answer_with_their_status_once(start, get, status):
    sandbox = start(records=5)
    sandbox.set_faults([f"pages:{status}:at=1:value=3"])
    first = get(sandbox, "/sdk/tasks/")
    assert first.status_code == int(status)
    assert first.headers.get("Retry-After") == ("3" if status in {"429", "503"} else None)
    assert get(sandbox, "/sdk/tasks/").status_code == 200
    assert [entry["fault"] for entry in sandbox.requests()] == [status, ""]


def test_a_reset_breaks_the_connection(start, get):
    sandbox = start(records=5)
    sandbox.set_faults(["pages:reset:times=1"])
    with pytest.raises(requests.ConnectionError):
        get(sandbox, "/sdk/tasks/")
    assert get(sandbox, "/sdk/tasks/").status_code == 200


def test_a_cut_body_is_shorter_than_its_content_length(start):
    sandbox = start(records=5)
    sandbox.set_faults(["pages:cut:times=1:value=0.25"])
    with closing(HTTPConnection(urlsplit(sandbox.url).netloc, timeout=10)) as connection:
        connection.request("GET", "/sdk/tasks/", headers={"Synapse-Access-Token": f"Token {sandbox.token}"})
        answer = connection.getresponse()
        promised = int(answer.headers["Content-Length"])
        with pytest.raises(IncompleteRead) as caught:
            answer.read()
        answer.close()
    assert len(caught.value.partial) == promised // 4
    assert promised > 1000


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("html", lambda answer: "Sign in" in answer.text and answer.headers["Content-Type"].startswith("text/html")),
        ("empty", lambda answer: answer.content == b""),
        ("badjson", lambda answer: answer.text.startswith("{") and not answer.text.endswith("}")),
    ],
)
def test_bodies_that_are_no_envelope_come_with_200(start, get, kind, check):
    sandbox = start(records=5)
    sandbox.set_faults([f"pages:{kind}"])
    answer = get(sandbox, "/sdk/tasks/")
    assert answer.status_code == 200
    assert check(answer)


def test_pages_can_lie_about_their_rows(start, get):
    sandbox = start(records=9)
    query = {"project": 12, "ordering": "id", "page_size": 5}
    keys = [record.key for record in sandbox.truth("task")][:5]

    def listed(kind):
        sandbox.set_faults([f"pages:{kind}:times=1"])
        return get(sandbox, "/sdk/tasks/", **query).json()

    foreign = listed("foreign_row")["results"]
    assert [row["project"] for row in foreign] == [13, 12, 12, 12, 12]
    assert [row["id"] for row in listed("duplicate_row")["results"]] == [keys[0], *keys]
    assert [row["id"] for row in listed("missing_row")["results"]] == keys[:-1]
    assert listed("wrong_count")["count"] == 16
    assert listed("foreign_next")["next"].startswith("http://127.0.0.2:")


def test_a_redirect_points_elsewhere(start, get):
    sandbox = start(records=3)
    sandbox.set_faults(["api:redirect"])
    answer = requests.get(
        f"{sandbox.url}/agents/",
        headers={"Synapse-Access-Token": f"Token {sandbox.token}"},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("http://127.0.0.2:")


def test_a_corrupt_payload_differs_from_its_digest(start, get):
    sandbox = start(records=3, payload="presigned")
    url = get(sandbox, "/sdk/tasks/", project=12, response_mode="presigned").json()["results"][0]["data"]
    whole = get(sandbox, url["presigned_url"], headers={}).content
    sandbox.set_faults(["payloads:corrupt"])
    damaged = get(sandbox, url["presigned_url"], headers={}).content
    assert sum(a != b for a, b in zip(whole, damaged, strict=True)) == 1


def test_slow_answers_are_slow_and_dripping_ones_slower(start, get):
    sandbox = start(records=3)
    sandbox.set_faults(["api:slow:times=1:value=0.3", "api:drip:value=0.002"])
    started = time.monotonic()
    get(sandbox, "/agents/")
    slow = time.monotonic()
    content = get(sandbox, "/agents/").content
    dripped = time.monotonic()
    assert slow - started >= 0.3
    assert dripped - slow >= 0.002 * (len(content) - 1)


def test_a_hanging_request_does_not_keep_the_sandbox_from_stopping(start):
    sandbox = start(records=3)
    sandbox.set_faults(["api:hang"])
    host, port = urlsplit(sandbox.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET /agents/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        time.sleep(0.1)
        sandbox.stop()
        assert connection.recv(1) == b""


def test_faults_can_be_changed_over_http(start, get):
    sandbox = start(records=3)
    control = f"{sandbox.url}/__sandbox__"
    requests.post(f"{control}/faults", json={"faults": ["api:500"]}, timeout=10).raise_for_status()
    assert get(sandbox, "/agents/").status_code == 500
    requests.post(f"{control}/faults", json={"faults": []}, timeout=10).raise_for_status()
    requests.post(f"{control}/revoke", json={}, timeout=10).raise_for_status()
    assert get(sandbox, "/agents/").status_code == 401
    requests.post(f"{control}/revoke", json={"revoked": False}, timeout=10).raise_for_status()
    keys = [record.key for record in sandbox.truth("task")]
    requests.post(f"{control}/delete", json={"target": "task", "ids": keys[:1]}, timeout=10).raise_for_status()
    requests.post(f"{control}/add", json={"count": 2}, timeout=10).raise_for_status()
    assert len(sandbox.truth("task")) == 4


def test_unknown_malformations_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no_such_kind"):
        Server(SandboxOptions(profile="nasty", kinds=("no_such_kind",)), str(tmp_path))
