"""Credentials by the SDK's rules, and its errors as ours, in one line and within seconds."""

import pickle
from datetime import UTC, datetime, timedelta

import pytest
import synapse_sdk.utils.auth
from aiohttp import web

from pipeline.errors import BackendError, CredentialsError, PreflightError, TransientError
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import Access
from pipeline.synapse.client import SynapseClient
from synapse.local_api import QUICK, TOKEN, LocalApi, everything_of, scripted

SECRET = "canary-storage-secret"


@pytest.fixture(autouse=True)
def no_config_file(monkeypatch, tmp_path):
    monkeypatch.setattr(synapse_sdk.utils.auth, "CONFIG_FILE", tmp_path / "config.json")
    return tmp_path / "config.json"


@pytest.fixture
def connect(monkeypatch):
    opened = []

    def make(url, token=TOKEN, **options):
        monkeypatch.setenv("SYNAPSE_HOST", url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", token)
        opened.append(SynapseClient.from_environment(**{"limits": QUICK, **options}))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_without_a_token_it_says_where_to_put_one():
    with pytest.raises(CredentialsError, match="SYNAPSE_ACCESS_TOKEN") as caught:
        SynapseClient.from_environment()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_access_token_comes_from_the_environment(connect):
    with LocalApi(scripted(web.json_response({"id": 12, "title": "T"}))) as api:
        one = connect(api.url + "/")
        assert one.origin == api.url
        assert one.project(12)["title"] == "T"
        one.run(one.fetch_page("sdk/tasks/", {}, bytes))
        for request in api.seen:
            assert request.headers["Synapse-Access-Token"] == f"Token {TOKEN}"
            assert "Authorization" not in request.headers


def test_the_sdks_config_file_works_too(no_config_file):
    no_config_file.write_text('{"host": "http://127.0.0.1:9", "access_token": "from-the-file"}')
    one = SynapseClient.from_environment()
    assert one.origin == "http://127.0.0.1:9"
    one.close()


def test_inside_a_plugin_run_the_users_token_and_tenant_are_sent(monkeypatch, connect):
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_USER_TOKEN", "user-token-1234")
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_TENANT", "acme")
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_URL_HOST", "internal")
    with LocalApi(scripted(web.json_response({"id": 12}))) as api:
        one = connect(api.url)
        one.project(12)
        one.run(one.fetch_page("sdk/tasks/", {}, bytes))
        for request in api.seen:
            assert request.headers["Authorization"] == "Token user-token-1234"
            assert request.headers["Synapse-Tenant"] == "Token acme"
            assert request.query["url_host"] == "internal"


@pytest.mark.parametrize("url", ["api.synapse.sh", "ftp://api.synapse.sh", "http://a b:x"])
def test_a_host_that_is_no_address_is_named(connect, url):
    with pytest.raises(PreflightError, match="SYNAPSE_HOST"):
        connect(url)


def test_it_refuses_to_be_pickled(connect):
    with pytest.raises(TypeError, match="holds a token"):
        pickle.dumps(connect("http://127.0.0.1:9"))


def test_a_dead_host_fails_in_seconds_with_one_line(connect):
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        connect("http://127.0.0.1:1").project(12)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (web.json_response({"detail": "Invalid token."}, status=401), CredentialsError, "does not accept"),
        (web.json_response({"detail": "No role."}, status=403), PreflightError, "refuses access"),
        (web.json_response({"detail": "Not found."}, status=404), PreflightError, "project 12"),
        (web.json_response({"code": "x", "detail": f"bad {TOKEN}"}, status=400), PreflightError, "refused"),
        (web.Response(body=b"<html>", content_type="text/html"), PreflightError, "SYNAPSE_HOST"),
        (web.json_response([1, 2]), PreflightError, "SYNAPSE_HOST"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.2:1/"}), PreflightError, "redirect"),
        (web.json_response({}, status=409), BackendError, "409"),
        (web.Response(status=429), TransientError, "answered HTTP 429"),
        (web.Response(status=500), TransientError, "answered HTTP 500"),
        (web.Response(status=520, body=b"<html>" * 1000, content_type="text/html"), TransientError, "HTTP 520"),
    ],
)
def test_the_sdks_errors_become_ours(connect, answer, error, words):
    with LocalApi(scripted(answer)) as api:
        with pytest.raises(error, match=words) as caught:
            connect(api.url).project(12)
        assert len(api.seen) <= 3
    assert TOKEN not in everything_of(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_passing_trouble_is_waited_for(connect):
    trouble = [web.Response(status=502), web.Response(body=b'{"id":', content_type="application/json")]
    with LocalApi(scripted(*trouble, web.json_response({"id": 12}))) as api:
        assert connect(api.url).project(12) == {"id": 12}


def test_a_redirect_of_a_single_call_takes_the_token_nowhere(connect):
    with LocalApi(scripted(web.json_response({})), host="127.0.0.2") as other:
        away = web.Response(status=302, headers={"Location": other.url})
        with LocalApi(scripted(away)) as api, pytest.raises(PreflightError):
            connect(api.url).project(12)
        assert other.seen == []


@pytest.fixture
def storage(connect):
    """``storage(provider, configuration)`` gives a client of an API whose storage 11 is like that."""
    servers = []

    def make(provider, configuration, **more):
        session = {"id": 11, "name": "s", "category": "external", "provider": provider, "is_default": False}
        session |= {"configuration": configuration, "contract_version": 1, "expires_at": None, **more}
        servers.append(LocalApi(scripted(web.json_response(session))).__enter__())
        return connect(servers[-1].url)

    yield make
    for server in servers:
        server.__exit__()


def test_a_local_storage_is_a_path(storage, tmp_path):
    assert storage("file_system", {"location": str(tmp_path)}).open_storage(11, "exports/a") == Access(
        f"{tmp_path}/exports/a", {}
    )


def test_an_object_store_is_a_url_with_its_credentials_apart(storage):
    configuration = {
        "bucket_name": "bkt",
        "access_key": "AK",
        "secret_key": SECRET,
        "endpoint_url": "http://minio:9000",
    }
    ends = (datetime.now(UTC) + timedelta(minutes=15)).isoformat()
    access = storage("minio", configuration, expires_at=ends).open_storage(11, "exports/a")
    assert access.url == "s3://bkt/exports/a"
    assert access.options["secret"] == SECRET
    assert access.options["client_kwargs"]["endpoint_url"] == "http://minio:9000"
    assert 800 < access.seconds <= 900


def test_a_storage_of_a_kind_the_sdk_does_not_open_says_which_it_does(storage):
    with pytest.raises(PreflightError, match=r"of the kind 'azure'.*amazon_s3, minio, gcp, sftp and smb"):
        storage("azure", {}).open_storage(11, "a")


@pytest.mark.parametrize("path", ["../a", "a/../../b", "..", "a\\..\\b", "a\0b"])
def test_a_path_cannot_leave_its_storage(storage, tmp_path, path):
    with pytest.raises(PreflightError, match="must stay inside storage 11"):
        storage("local", {"location": str(tmp_path)}).open_storage(11, path)


@pytest.mark.parametrize(
    ("provider", "configuration"),
    [
        ("http", {"base_url": "http://x"}),
        ("azure", {"account_key": SECRET}),
        ("nonsense", {}),
        ("amazon_s3", {"secret_key": SECRET}),
        ("amazon_s3", {"bucket_name": {"nested": SECRET}, "access_key": 5, "secret_key": SECRET}),
    ],
)
def test_a_storage_that_cannot_be_written_is_refused_without_its_secrets(storage, provider, configuration):
    with pytest.raises(PreflightError, match="storage 11") as caught:
        storage(provider, configuration).open_storage(11, "a")
    assert SECRET not in everything_of(caught.value)


def test_a_storage_contract_the_sdk_does_not_know_is_refused(storage, tmp_path):
    one = storage("local", {"location": str(tmp_path)}, contract_version=2)
    with pytest.raises(PreflightError, match="StorageContractVersion"):
        one.open_storage(11, "a")


@pytest.mark.parametrize("session", ["issue", "old", "expired"])
def test_sessions_of_every_backend_open(connect, session, tmp_path):
    with Sandbox(SandboxOptions(records=1, session=session, storage_location=str(tmp_path))) as sandbox:
        one = connect(sandbox.url, sandbox.token)
        assert one.open_storage(sandbox.storage_id, "a/b") == Access(f"{tmp_path}/a/b", {})
        with pytest.raises(PreflightError, match="storage 77"):
            one.open_storage(77, "a")


def test_a_session_that_is_not_issued_says_why(connect):
    with Sandbox(SandboxOptions(records=1, session="rejected")) as sandbox:
        one = connect(sandbox.url, sandbox.token)
        with pytest.raises(PreflightError, match="No credential is registered"):
            one.open_storage(sandbox.storage_id, "a")
