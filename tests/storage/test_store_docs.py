"""``docs/storage.md`` and the configurations beside it: what they say is what happens."""

import re
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
import yaml

from exporting import ROOT, command, digest, environment, export
from pipeline.config.export import ExportConfig
from pipeline.errors import DestinationError
from pipeline.sandbox import Sandbox, SandboxOptions
from stores import FULL, SftpServer

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PAGE = (ROOT / "docs/storage.md").read_text()


def run_shipped(name, sandbox, env, tmp_path, *overrides):
    """Run a configuration as it is shipped, but for the project, the place and the executor."""
    changes = (f"filter.project={sandbox.project_id}", "run.executor=serial", *overrides)
    arguments = [word for change in changes for word in ("--set", change)]
    done = command("run", ROOT / "configs" / name, *arguments, env=environment(sandbox, **env))
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load((ROOT / "configs" / name).read_text())
    wanted = {key: values[key] for key in ("name", "formats", "split", "packaging") if key in values}
    export(sandbox, tmp_path / "golden", **wanted, report=True)
    return digest(tmp_path / "golden")


def test_the_configuration_for_minio_runs(tidy, s3_server, tmp_path):
    place = s3_server.place()
    env = {"MINIO_ENDPOINT": s3_server.endpoint, "MINIO_ACCESS_KEY": FULL.access, "MINIO_SECRET_KEY": FULL.secret}
    assert run_shipped("store-minio.yaml", tidy, env, tmp_path, f"path={place.url}") == digest(place)


def test_the_configuration_for_s3_runs(tidy, s3_server, tmp_path):
    place = s3_server.place()
    env = {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": FULL.access,
        "AWS_SECRET_ACCESS_KEY": FULL.secret,
    }
    assert run_shipped("store-s3.yaml", tidy, env, tmp_path, f"path={place.url}") == digest(place)


def test_the_configuration_for_google_runs(tidy, gcs_server, tmp_path):
    place = gcs_server.place()
    # The emulator knows no key files.
    env = {"STORAGE_EMULATOR_HOST": gcs_server.endpoint, "GOOGLE_APPLICATION_CREDENTIALS": "anon"}
    assert run_shipped("store-gcs.yaml", tidy, env, tmp_path, f"path={place.url}") == digest(place)


def test_the_configuration_for_sftp_runs(tidy, sftp_server, tmp_path):
    place, known = sftp_server.place(), tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sftp_server.port} {sftp_server.public_key}\n")
    env = {"SFTP_USER": SftpServer.user, "SFTP_PASSWORD": SftpServer.password, "SFTP_KNOWN_HOSTS": str(known)}
    changes = (f"path={place.url}", f"storage_options.port={sftp_server.port}")
    assert run_shipped("store-sftp.yaml", tidy, env, tmp_path, *changes) == digest(place)


def test_a_server_with_another_key_is_not_trusted(tidy, sftp_server, tmp_path):
    place, known = sftp_server.place(), tmp_path / "known_hosts"
    another = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{sftp_server.port} {another}\n")
    options = {**place.options, "known_hosts": str(known)}
    with pytest.raises(DestinationError, match="the server's key is not in known_hosts"):
        replace(place, options=options).storage()


def test_the_configuration_for_a_storage_of_synapse_runs(tidy, tmp_path):
    expected = run_shipped("store-synapse.yaml", tidy, {}, tmp_path, "path=exports/shipped")
    assert expected == digest(tidy.storage_location / "exports/shipped")


def test_the_page_shows_the_configuration_for_minio():
    shown = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    shipped = yaml.safe_load((ROOT / "configs/store-minio.yaml").read_text())
    assert shown == {key: shipped[key] for key in shown}


def table(heading):
    """The rows of the table below a heading, each a list of cells."""
    text = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if set(row[0]) != set("-")]


FOUND = {
    "empty": {},
    "unfinished, same export": {"unfinished": True},
    "unfinished, another export": {"unfinished": True, "naming": "id"},
    "finished, same export": {"finished": True},
    "finished, another export": {"finished": True, "naming": "id"},
    "other files": {"foreign": True},
}


@pytest.fixture(scope="module")
def few():
    with Sandbox(SandboxOptions(profile="tidy", records=6)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("policy", ["resume", "fail", "overwrite"])
@pytest.mark.parametrize("found", FOUND)
def test_the_table_of_existing_files_is_true(few, tmp_path, found, policy):
    header, *rows = table("What happens to existing files")
    cell = next(row for row in rows if f"`{policy}`" in row[0])[header.index(found)]
    path, there = tmp_path / "out", FOUND[found]
    before = {"naming": there.get("naming", "original"), "formats": ["csv"], "save_original_file": False}
    if "finished" in there or "unfinished" in there:
        export(few, path, **before, run={"keep_staging": True})
    if "unfinished" in there:
        (path / "_SUCCESS.json").unlink()
    if "foreign" in there:
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    asked = {"formats": ["csv"], "save_original_file": False, "on_existing": policy}
    if cell.startswith("refuse"):
        match = "differs in: naming" if "naming" in cell or ("another" in found and policy == "resume") else "holds"
        with pytest.raises(DestinationError, match=match):
            export(few, path, **asked)
        return
    listed = len([entry for entry in few.requests() if "fields" in entry["query"]])
    result = export(few, path, **asked)
    again = len([entry for entry in few.requests() if "fields" in entry["query"]]) - listed
    assert result.already_finished == (cell == "do nothing")
    # Only what starts anew lists the records; what is continued has them in its plan.
    assert bool(again) == (cell in ("start", "replace")), cell


def test_every_message_of_the_page_is_shown_by_a_test():
    tests = "".join(
        (ROOT / "tests" / name).read_text()
        for name in (
            "storage/test_object_stores.py",
            "destination/test_existing.py",
            "destination/test_lock.py",
            "storage/test_sftp.py",
            "storage/test_store_docs.py",
        )
    )
    rows = table("When it is refused")[1:]
    assert len(rows) > 8
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row[0]):
            parts = [part.strip() for part in re.split(r"'x'|\(r\)|…", message)]
            for part in filter(None, parts):
                assert part in tests, part


def test_every_store_has_a_configuration():
    for name in ("store-s3", "store-minio", "store-gcs", "store-sftp", "store-synapse"):
        assert f"configs/{name}.yaml" in PAGE
        assert Path(ROOT / f"configs/{name}.yaml") in CONFIGS
    assert ExportConfig.model_fields["packaging"].default == "files"
