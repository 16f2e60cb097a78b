"""Exports to object stores on bad days: credentials that end, kills in the middle of an upload, wrong settings."""

import os
import signal
import subprocess
import sys

import pytest

from exporting import ROOT, command, digest, environment, export, settings, storage, verify, write_config
from pipeline.sandbox import Sandbox, SandboxOptions
from stores import READER, Key, Place

COCO = "annotations/instances_train.json"


@pytest.fixture(scope="module")
def large():
    """A sandbox with enough for a COCO file of 25 MB: it is uploaded in parts, most of them copied by the store."""
    with Sandbox(SandboxOptions(profile="bench", records=6000)) as sandbox:
        yield sandbox


LARGE = {"formats": ["coco"], "save_original_file": False, "split": "none", "run": {"shard_size": 2000}}


@pytest.fixture(scope="module")
def golden(large, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "out"
    export(large, path, **LARGE)
    assert (path / COCO).stat().st_size > 20 * 2**20
    return digest(path)


def start(config, sandbox, place):
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", config],
        env=environment(sandbox, place),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_in_the_merge(large, place, proxy, tmp_path, *, copied):
    """The configuration of an export that was killed while the store had the first part but not the second."""
    config = write_config(tmp_path, settings(large, place, **LARGE))

    def is_part(entry):
        return entry.method == "PUT" and "partNumber" in entry.query and (entry.size == 0) == copied

    held = proxy.fault("hold", first=2 if copied else 1, matches=is_part)
    process = start(config, large, place)
    held.wait()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    proxy.heal()
    return config


@pytest.mark.slow
@pytest.mark.parametrize("copied", [True, False], ids=["a part is copied", "a part is sent"])
def test_a_run_killed_in_a_multipart_merge_is_gone_on_with(large, golden, s3_server, proxy, tmp_path, copied):
    place = s3_server.place(endpoint=proxy.url)
    config = killed_in_the_merge(large, place, proxy, tmp_path, copied=copied)
    assert len(s3_server.uploads(place.key)) == 1
    assert storage(place).size(COCO) is None
    done = command("run", config, env=environment(large, place))
    assert done.returncode == 0, done.stderr
    assert digest(place) == golden
    verify(place, full=True)
    assert s3_server.uploads(place.key) == []  # of what was killed, too
    assert storage(place).entries("_staging") == []


@pytest.mark.slow
def test_clean_takes_away_what_a_killed_merge_left(large, golden, s3_server, proxy, tmp_path):
    place = s3_server.place(endpoint=proxy.url)
    config = killed_in_the_merge(large, place, proxy, tmp_path, copied=True)
    neighbour = s3_server.place(place.url.rpartition("/")[2] + "-other")
    upload = storage(neighbour)._begin("a")
    assert len(s3_server.uploads(place.key)) == 2
    done = command("clean", config, env=environment(large, place))
    assert done.returncode == 0, done.stderr
    assert "staged work, 1 unfinished uploads" in done.stdout
    assert s3_server.keys(f"{place.key}/") == {}
    assert [key for key, _ in s3_server.uploads(place.key)] == [f"{neighbour.key}/a"]
    upload.abort()
    assert "nothing to remove" in command("clean", config, env=environment(large, place)).stdout
    assert command("run", config, env=environment(large, place)).returncode == 0
    assert digest(place) == golden


def test_the_store_copies_what_it_can_and_gets_the_rest_only(large, golden, s3_server, proxy):
    place = s3_server.place(endpoint=proxy.url)
    proxy.clear()
    export(large, place, **LARGE)
    assert digest(place) == golden
    size = storage(place).size(COCO)
    parts = [entry for entry in proxy.writes() if "partNumber" in entry.query and entry.path.endswith(COCO)]
    assert any(entry.size == 0 for entry in parts)
    assert sum(entry.size for entry in parts) < size / 2
    whole = [entry for entry in proxy.writes() if entry.path.endswith(COCO) and entry.query.keys() == {"uploadId"}]
    assert len(whole) == 1


def test_credentials_that_end_and_are_not_renewed_are_one_line(tidy, s3_server, proxy, tmp_path):
    key = proxy.issue(3600)
    place = s3_server.place(endpoint=proxy.url, key=key)
    config = write_config(tmp_path, settings(tidy, place))

    def ends(entry):
        if "/extract/" in entry.path:
            proxy._deadlines[key.access] = 0.0
        return False

    proxy.fault("403", matches=ends)
    done = command("run", config, env=environment(tidy, place))
    assert done.returncode == 1
    warning, line = done.stderr.strip().splitlines()
    assert "the lock of this run stays behind" in warning
    assert line.endswith("the credentials have expired; set new ones and run the same command again")
    fresh = s3_server.place(place.url.rpartition("/")[2], endpoint=proxy.url, key=proxy.issue(3600))
    again = command("run", config, env=environment(tidy, fresh))
    assert again.returncode == 0, again.stderr
    verify(fresh, full=True)


def line_of_refusal(sandbox, place, tmp_path, **more):
    config = write_config(tmp_path, settings(sandbox, place))
    done = command("run", config, env=environment(sandbox, place, **more))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    for secret in place.environment.values():
        assert "canary" not in secret or secret not in line
    return line


def test_a_bucket_that_is_not_there_is_named(tidy, s3_server, tmp_path):
    assert "there is no bucket 'lost'; create it" in line_of_refusal(tidy, s3_server.place(bucket="lost"), tmp_path)


def test_a_google_bucket_that_is_not_there_is_named(tidy, gcs_server, tmp_path):
    line = line_of_refusal(tidy, gcs_server.place(bucket="lost"), tmp_path)
    assert "there is no bucket or share 'lost'; create it" in line


def test_an_access_key_that_is_not_known_is_said(tidy, s3_server, tmp_path):
    place = s3_server.place(key=Key("nobody", "canary-wrong-secret"))
    assert "the store does not know the access key; check storage_options.key" in line_of_refusal(tidy, place, tmp_path)


def test_a_secret_that_does_not_fit_is_said(tidy, s3_server, tmp_path):
    place = s3_server.place(key=Key("test-full-access", "canary-wrong-secret"))
    line = line_of_refusal(tidy, place, tmp_path)
    assert "the secret key is not that of the access key; check storage_options.secret" in line


def test_credentials_that_may_only_read_are_said(tidy, s3_server, tmp_path):
    line = line_of_refusal(tidy, s3_server.place(key=READER), tmp_path)
    assert "the credentials do not allow this; they need to read, write, list and delete objects there" in line


def test_credentials_that_have_ended_are_said(tidy, s3_server, proxy, tmp_path):
    key = proxy.issue(0)
    line = line_of_refusal(tidy, s3_server.place(key=key, endpoint=proxy.url), tmp_path)
    assert "the credentials have expired; set new ones" in line


@pytest.mark.parametrize(
    ("code", "region", "text"),
    [
        (
            "AuthorizationHeaderMalformed",
            "<Region>ap-northeast-2</Region>",
            "client_kwargs.region_name: ap-northeast-2",
        ),
        ("PermanentRedirect", "", "is in another region (eu-west-1); set storage_options.client_kwargs.region_name"),
    ],
)
def test_a_bucket_in_another_region_is_said(tidy, s3_server, proxy, tmp_path, code, region, text):
    headers = {} if region else {"x-amz-bucket-region": "eu-west-1"}
    proxy.answer(400 if region else 301, f"<Error><Code>{code}</Code><Message>wrong</Message>{region}</Error>", headers)
    assert text in line_of_refusal(tidy, s3_server.place(endpoint=proxy.url), tmp_path)


def test_a_clock_that_is_wrong_is_said(tidy, s3_server, proxy, tmp_path):
    proxy.answer(403, "<Error><Code>RequestTimeTooSkewed</Code><Message>wrong</Message></Error>")
    line = line_of_refusal(tidy, s3_server.place(endpoint=proxy.url), tmp_path)
    assert "this machine's clock is more than 15 minutes off; correct it" in line


def test_a_store_that_cannot_be_reached_is_said(tidy, tmp_path):
    place = Place(
        "s3://exports/a",
        {"key": "${TEST_S3_KEY}", "secret": "${TEST_S3_SECRET}", "endpoint_url": "http://127.0.0.1:1"},
        {"TEST_S3_KEY": "a", "TEST_S3_SECRET": "canary-secret"},
    )
    assert "the store cannot be reached; check its address (endpoint_url, or host and port)" in line_of_refusal(
        tidy, place, tmp_path
    )


def test_credentials_that_are_not_there_are_said(tidy, s3_server, tmp_path):
    place = Place("s3://exports/a", {"endpoint_url": s3_server.endpoint})
    hidden = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "AWS_CONFIG_FILE": str(tmp_path / "none")}
    line = line_of_refusal(tidy, place, tmp_path, **hidden)
    assert "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line


def test_an_option_that_does_not_exist_is_said(tidy, s3_server, tmp_path):
    place = s3_server.place()
    wrong = Place(place.url, {**place.options, "requester_plays": True}, place.environment)
    assert "requester_plays" in line_of_refusal(tidy, wrong, tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_workers_write_to_s3_what_one_process_does(tidy, s3_server, tmp_path):
    export(tidy, tmp_path / "golden")
    place = s3_server.place()
    values = settings(tidy, place, run={"executor": "ray", "workers": 2, "shard_size": 7})
    done = command("run", write_config(tmp_path, values), env=environment(tidy, place))
    assert done.returncode == 0, done.stderr
    assert digest(place) == digest(tmp_path / "golden")


@pytest.mark.ray
@pytest.mark.slow
def test_ray_workers_renew_the_credentials_of_a_storage_of_synapse(s3_server, proxy, tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=60, page_latency=0.3)) as sandbox:
        export(sandbox, tmp_path / "golden")
        name = f"sessions/{tmp_path.name}-{os.getpid()}"
        sandbox.set_storage(lambda: proxy.session(2.0))
        run = {"executor": "ray", "workers": 2, "shard_size": 15, "page_size": 3, "requests": 2}
        values = settings(sandbox, name, storage=sandbox.storage_id, run=run)
        done = command("run", write_config(tmp_path, values), env=environment(sandbox))
        assert done.returncode == 0, done.stderr
        assert proxy.issued > 4
    assert digest(s3_server.place(name)) == digest(tmp_path / "golden")
