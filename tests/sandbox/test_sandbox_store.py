"""The object store: signatures, expiry, ranges, and the payloads behind URLs."""

import hashlib
import json
import time

import pytest
import requests

NO_TOKEN: dict[str, str] = {}


def first_row(get, sandbox, path="/sdk/tasks/", **query):
    query = {"expand": "data_unit", "project": 12, "ordering": "id", "page_size": 1, **query}
    return get(sandbox, path, **query).json()["results"][0]


def test_an_expired_url_is_403_and_listing_the_row_again_helps(start, get):
    sandbox = start(payload="presigned", url_ttl=0.4)
    row = first_row(get, sandbox, response_mode="presigned")
    assert get(sandbox, row["data"]["presigned_url"], headers=NO_TOKEN).status_code == 200
    time.sleep(0.5)
    refused = get(sandbox, row["data"]["presigned_url"], headers=NO_TOKEN)
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/xml; charset=utf-8")
    assert "<Code>AccessDenied</Code>" in refused.text
    again = get(sandbox, "/sdk/tasks/", id=row["id"], page_size=1, response_mode="presigned").json()["results"][0]
    assert again["id"] == row["id"]
    assert get(sandbox, again["data"]["presigned_url"], headers=NO_TOKEN).status_code == 200


@pytest.mark.parametrize("change", [lambda u: u[:-1] + ("0" if u[-1] != "0" else "1"), lambda u: u.split("?")[0]])
def test_a_changed_signature_is_403(tidy, get, change):
    url = first_row(get, tidy)["data_unit"]["files"]["image_1"]["url"]
    assert get(tidy, change(url), headers=NO_TOKEN).status_code == 403


def test_a_later_expiry_does_not_match_the_signature(tidy, get):
    url = first_row(get, tidy)["data_unit"]["files"]["image_1"]["url"]
    assert "SignatureDoesNotMatch" in get(tidy, url.replace("X-Exp=1", "X-Exp=2"), headers=NO_TOKEN).text


def test_ranges_are_served(tidy, get):
    url = first_row(get, tidy)["data_unit"]["files"]["image_1"]["url"]
    whole = get(tidy, url, headers=NO_TOKEN).content
    for value, expected in (("bytes=10-19", whole[10:20]), ("bytes=100-", whole[100:]), ("bytes=-5", whole[-5:])):
        part = get(tidy, url, headers={"Range": value})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["Content-Range"].endswith(f"/{len(whole)}")
    beyond = get(tidy, url, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


@pytest.mark.parametrize("path", ["/sdk/tasks/", "/sdk/assignments/", "/sdk/ground_truth_events/"])
def test_a_presigned_payload_is_the_inline_document_with_size_and_digest(start, get, path):
    sandbox = start(payload="presigned")
    inline = first_row(get, sandbox, path, ground_truth_dataset_versions=99)["data"]
    wrapper = first_row(get, sandbox, path, ground_truth_dataset_versions=99, response_mode="presigned")["data"]
    assert wrapper["mode"] == "presigned"
    content = get(sandbox, wrapper["presigned_url"], headers=NO_TOKEN).content
    assert len(content) == wrapper["size"]
    assert hashlib.sha256(content).hexdigest() == wrapper["data_digest"]
    assert json.dumps(json.loads(content)) == json.dumps(inline)
    assert content != json.dumps(inline, ensure_ascii=False, separators=(",", ":")).encode()


def test_mixed_payloads_take_every_form_and_say_the_same(start, get):
    sandbox = start(payload="mixed")
    query = {"project": 12, "ordering": "id"}
    plain = get(sandbox, "/sdk/tasks/", **query).json()["results"]
    wrapped = get(sandbox, "/sdk/tasks/", response_mode="presigned", **query).json()["results"]
    forms = set()
    for one, other in zip(plain, wrapped, strict=True):
        data, form = other["data"], "raw"
        if "mode" in data:
            form = "truncated" if data.get("truncated") else data["mode"]
            data = data["data"] if "data" in data else get(sandbox, data["presigned_url"], headers=NO_TOKEN).json()
        assert data == one["data"]
        forms.add(form)
    assert forms == {"raw", "presigned", "truncated", "inline"}


def test_media_urls_have_no_host_and_no_signature(start, get):
    sandbox = start(file_urls="media")
    url = first_row(get, sandbox)["data_unit"]["files"]["image_1"]["url"]
    assert url.startswith("/media/files/")
    assert get(sandbox, url, headers=NO_TOKEN).headers["Content-Type"] == "image/jpeg"


def test_objects_that_do_not_exist_are_404(tidy, get):
    assert "NoSuchKey" in get(tidy, "/media/files/99999999/image_1.jpg").text
    assert get(tidy, "/media/files/00000003/image_9.jpg").status_code == 404
    assert get(tidy, "/media/nothing").status_code == 404


def test_urls_outlive_a_restart_on_the_same_port(start, get):
    first = start()
    url = first_row(get, first)["data_unit"]["files"]["image_1"]["url"]
    content = get(first, url).content
    first.stop()
    second = start(port=int(first.url.rpartition(":")[2]))
    assert second.url == first.url
    assert second.token == first.token
    assert get(second, url, headers=NO_TOKEN).content == content


@pytest.mark.parametrize(("mode", "status"), [("issue", 200), ("old", 404), ("rejected", 400), ("expired", 200)])
def test_storage_sessions_answer_as_asked(start, mode, status):
    sandbox = start(session=mode, records=1)
    headers = {"Synapse-Access-Token": f"Token {sandbox.token}"}
    answer = requests.post(
        f"{sandbox.url}/storages/11/session/", json={"purpose": "write"}, headers=headers, timeout=10
    )
    assert answer.status_code == status
    if mode == "rejected":
        assert answer.json()["code"] == "credential_not_registered"
