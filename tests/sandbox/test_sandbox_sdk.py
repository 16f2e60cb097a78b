"""The sandbox speaks the dialect of the real API: the real SDK works against it (contract, section 12.3)."""

import importlib
import json
import os
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

import pytest
from synapse_sdk.clients.backend import BackendClient
from synapse_sdk.exceptions import AuthenticationError, AuthorizationError, NotFoundError, RateLimitError, ServerError
from synapse_sdk.utils.auth import create_backend_client
from synapse_sdk.utils.converters.dm import convert_v1_to_v2
from synapse_sdk.utils.storage import get_pathlib
from synapse_sdk.utils.storage.provider import BackendSessionProvider

from stores import FULL

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # one of the SDK's models shadows a pydantic attribute
    TargetHandlerFactory = importlib.import_module("synapse_sdk.plugins.actions.export.handlers").TargetHandlerFactory

TARGETS = ("task", "assignment", "ground_truth")


@pytest.fixture
def client(tidy, monkeypatch):
    for name, value in tidy.environment().items():
        monkeypatch.setenv(name, value)
    return create_backend_client()


def test_the_sdk_lists_all_tasks_by_page_number(client, tidy):
    rows, count = client.list_tasks({"project": tidy.project_id, "page_size": 25}, list_all=True)
    assert count == 60
    assert {row["id"] for row in rows} == {record.key for record in tidy.truth("task")}


def test_the_sdk_lists_all_tasks_by_cursor_and_counts_none(client, tidy):
    query = {"project": tidy.project_id, "pagination": "cursor", "ordering": "-id", "page_size": 25}
    rows, count = client.list_tasks(query, list_all=True)
    assert count == 0
    assert [row["id"] for row in rows] == [record.key for record in reversed(tidy.truth("task"))]


def test_the_sdk_reads_project_version_storage_and_agents(client, tidy):
    assert client.get_project(tidy.project_id)["title"] == "Dashcam 2026"
    assert client.get_ground_truth_version(tidy.version_id)["version"] == "1.2.0"
    versions = client.list_ground_truth_versions(params={"ground_truth_dataset": 209})
    assert [version["id"] for version in versions["results"]] == [99, 98]
    assert client.get_storage(tidy.storage_id).configuration == {"location": str(tidy.storage_location)}
    assert client.get_default_storage()["id"] == tidy.storage_id
    assert len(client.list_agents()) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.get_project(999), NotFoundError),
        (lambda client: client.get_project(14), AuthorizationError),
        (lambda client: client.list_tasks({"page": 1000}), NotFoundError),
    ],
)
def test_final_answers_become_the_sdk_errors(client, call, error):
    with pytest.raises(error):
        call(client)


def test_a_wrong_token_is_an_authentication_error(tidy):
    with pytest.raises(AuthenticationError):
        BackendClient(tidy.url, access_token="wrong").list_agents()


def test_the_user_token_with_tenant_is_accepted(tidy):
    client = BackendClient(tidy.url, authorization_token=tidy.user_token, tenant=tidy.tenant)
    assert len(client.list_agents()) == 1


@pytest.mark.parametrize(("kind", "error"), [("520", ServerError), ("524", ServerError), ("429", RateLimitError)])
def test_injected_statuses_become_the_sdk_errors(start, kind, error):
    sandbox = start(faults=())
    sandbox.set_faults([f"pages:{kind}:times=1"])
    client = BackendClient(sandbox.url, access_token=sandbox.token)
    with pytest.raises(error) as caught:
        client.list_tasks({"project": sandbox.project_id})
    assert caught.value.status_code == int(kind)
    assert client.list_tasks({"project": sandbox.project_id})["count"] == 30


def test_a_storage_session_opens_a_local_directory(client, tidy):
    session = BackendSessionProvider(client).open(tidy.storage_id, purpose="write")
    path = session.path("exports/a.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("written")
    assert (tidy.storage_location / "exports" / "a.txt").read_text() == "written"


def test_an_old_backend_without_sessions_still_gives_a_path(start):
    sandbox = start(session="old")
    client = BackendClient(sandbox.url, access_token=sandbox.token)
    path = BackendSessionProvider(client).open(sandbox.storage_id).path("x")
    assert Path(str(path)) == sandbox.storage_location / "x"
    assert Path(str(get_pathlib(client.get_storage(sandbox.storage_id).model_dump(), "x"))).name == "x"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("payload", ["raw", "presigned"])
def test_the_export_handlers_of_the_sdk_walk_the_sandbox(start, monkeypatch, target, payload):
    monkeypatch.setenv("SYNAPSE_EXPORT_THROTTLE_SECONDS", "0")
    monkeypatch.setenv("SYNAPSE_EXPORT_PAGE_SIZE", "20")
    sandbox = start(payload=payload, records=50)
    client = BackendClient(sandbox.url, access_token=sandbox.token)
    scope = {"project": sandbox.project_id}
    if target == "ground_truth":
        scope = {"ground_truth_dataset_version": sandbox.version_id}
    handler = TargetHandlerFactory.get_handler(target)
    handler.validate_filter(dict(scope), client)
    results, count = handler.get_results(client, dict(scope))
    items = list(handler.get_export_item(results))
    truth = list(reversed(sandbox.truth(target)))
    assert count == 50
    assert [item["id"] for item in items] == [record.id for record in truth]
    assert [item["files"]["file_name_original"] for item in items] == [record.file_name for record in truth]
    for item, record in zip(items, truth, strict=True):
        ids = [annotation["id"] for annotation in item["data"]["annotations"]["image_1"]]
        assert ids == [thing.id for thing in record.annotations]
    assert all(not entry["ignored_keys"] for entry in sandbox.requests())


def test_the_sdk_converts_every_tidy_document(client, tidy):
    rows, _ = client.list_tasks({"project": tidy.project_id}, list_all=True)
    documents = {row["id"]: row["data"] for row in rows}
    for record in tidy.truth("task"):
        converted = convert_v1_to_v2(documents[record.key])["annotation_data"]
        boxes = [item["data"] for image in converted.get("images", []) for item in image.get("bounding_box", [])]
        assert boxes == [list(t.geometry[:4]) for t in record.annotations if t.tool == "bounding_box"]


def test_synapse_doctor_is_content(tidy, tmp_path):
    config = tmp_path / ".synapse" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"host": tidy.url, "access_token": tidy.token}))
    config.chmod(0o600)
    command = Path(sys.executable).with_name("synapse")
    outcome = subprocess.run(
        [command, "doctor"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "Token is valid" in outcome.stdout.replace("\n", " ")


def test_job_updates_and_logs_are_kept(client, tidy):
    client.update_job("job-1", {"status": "RUNNING", "progress_record": {"current_progress": {"overall": 50.0}}})
    assert client.get_job("job-1")["progress_record"]["current_progress"]["overall"] == 50.0
    assert tidy.jobs()["job-1"]["status"] == "RUNNING"


def test_a_session_of_an_object_store_has_credentials_of_its_own(start, proxy):
    """Each session is asked for anew; the SDK writes with its keys until they expire, and again with the next ones."""
    sandbox = start(records=1)
    sandbox.set_storage(lambda: proxy.session(3600))
    client = BackendClient(sandbox.url, access_token=sandbox.token)
    sessions = BackendSessionProvider(client, auto_refresh=False)
    folder = f"sessions/{uuid.uuid4().hex}"
    for number in range(2):
        session = sessions.open(sandbox.storage_id, purpose="write")
        path = session.path(f"{folder}/{number}.txt")
        path.write_text("written")
        assert path.read_text() == "written"
        proxy.expire()
        with pytest.raises(OSError, match=r"expired|Bad Request"):
            path.write_text("again")
        session.close()
    assert proxy.issued == 2
    assert {entry.key for entry in proxy.writes()} == {"k000", "k001"}


def test_an_old_backend_gives_the_configuration_of_an_object_store(start, s3_server):
    sandbox = start(records=1, session="old")
    described = {"bucket_name": "exports", "access_key": FULL.access, "secret_key": FULL.secret}
    described["endpoint_url"] = s3_server.endpoint
    sandbox.set_storage(lambda: {"provider": "amazon_s3", "configuration": described})
    client = BackendClient(sandbox.url, access_token=sandbox.token)
    assert client.get_storage(sandbox.storage_id).provider == "amazon_s3"
    path = BackendSessionProvider(client).open(sandbox.storage_id, purpose="write").path("sessions/old.txt")
    path.write_text("written")
    assert path.read_text() == "written"
