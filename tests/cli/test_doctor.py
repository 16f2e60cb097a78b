"""The doctor tells apart what may stand in the way of a run, and names the command that repairs it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from exporting import ROOT, command, environment, settings, write_config
from heads import LOCAL
from pipeline.sandbox import Sandbox, SandboxOptions
from terminals import on_terminal

CHECKS = [
    "sdk", "packages", "configuration", "credentials", "host", "token", "clock", "project", "storage", "space", "ray",
    "machines", "locale", "terminal",
]  # fmt: skip


def examined(*arguments, env, code=0):
    """The findings by check."""
    done = command("doctor", "--json", *arguments, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ready"] is (code == 0)
    assert "canary" not in done.stdout + done.stderr
    return {check["name"]: check for check in report["checks"]}


def states(found, *names):
    return [found[name]["state"] for name in names]


def config_for(sandbox, tmp_path, path=None, **overrides):
    return write_config(tmp_path, settings(sandbox, path or tmp_path / "out", **overrides))


@contextmanager
def web_page():
    """A host that answers everything with a web page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<!DOCTYPE html><html><title>Sign in</title></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_all_is_well(tidy, tmp_path):
    done = command("doctor", config_for(tidy, tmp_path), env=environment(tidy))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-2]] == CHECKS
    assert {line.split()[0] for line in lines[:-2]} == {"ok", "skipped"}
    assert "accepted: Sandbox, tenant 모래 상자 (sandbox)" in done.stdout
    assert "Dashcam 2026: 28 classes" in done.stdout
    assert lines[-2].startswith("next: ")
    assert lines[-1] == "ready"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]  # the probe is gone, and its folder


def test_without_a_configuration_what_every_run_needs_is_checked(tidy):
    found = examined(env=environment(tidy))
    assert list(found) == CHECKS
    assert states(found, "host", "token", "clock", "ray") == ["ok"] * 4
    assert states(found, "configuration", "project", "storage", "space", "machines") == ["skipped"] * 5


def test_all_is_well_without_ray_and_pyarrow_being_imported(tidy, tmp_path):
    """A local run starts Ray itself, which takes seconds; that it is installed is all that can be known before."""
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"assert main(['doctor', {str(config_for(tidy, tmp_path, run={'executor': 'ray'}))!r}]) == 0\n"
        "assert 'ray' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(tidy), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok +ray +Ray \S+ is installed; no cluster is named", done.stdout)


def test_no_token(tidy, tmp_path):
    env = environment(tidy, HOME=str(tmp_path))
    del env["SYNAPSE_ACCESS_TOKEN"]
    found = examined(config_for(tidy, tmp_path), env=env, code=1)
    assert states(found, "credentials", "host", "token", "project") == ["error", "skipped", "skipped", "skipped"]
    assert "no access token in SYNAPSE_ACCESS_TOKEN" in found["credentials"]["finding"]
    assert found["credentials"]["fix"] == "synapse login"
    assert found["storage"]["state"] == "ok"  # a path needs no token


def test_a_wrong_token(tidy, tmp_path):
    env = environment(tidy, SYNAPSE_ACCESS_TOKEN="canary-token")
    found = examined(config_for(tidy, tmp_path), env=env, code=1)
    assert states(found, "credentials", "host", "token", "clock", "project") == ["ok", "ok", "error", "ok", "skipped"]
    assert found["token"]["finding"] == f"{tidy.url}: does not accept the access token (HTTP 401)"
    assert found["token"]["fix"] == "synapse login"


def test_a_dead_host(tidy, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = examined(config_for(tidy, tmp_path), env=environment(tidy, SYNAPSE_HOST=host), code=1)
    assert states(found, "host", "token", "clock", "project") == ["error", "skipped", "skipped", "skipped"]
    assert found["host"]["finding"] == f"{host}: cannot be reached"
    assert found["host"]["fix"].startswith(
        "export SYNAPSE_HOST=https://api.synapse.sh, or see what answers: curl -sSI "
    )


def test_a_host_that_is_a_web_page(tidy, tmp_path):
    with web_page() as host:
        found = examined(config_for(tidy, tmp_path), env=environment(tidy, SYNAPSE_HOST=host), code=1)
    assert states(found, "host", "token", "clock", "project") == ["error", "skipped", "skipped", "skipped"]
    assert found["host"]["finding"] == f"{host}: answers with a text instead of agents"
    assert found["host"]["fix"] == "export SYNAPSE_HOST=https://api.synapse.sh"


def test_a_host_whose_address_has_a_path_too_many(tidy):
    found = examined(env=environment(tidy, SYNAPSE_HOST=f"{tidy.url}/api"), code=1)
    assert "answers, but not as the API" in found["host"]["finding"]


def test_a_host_that_is_no_address(tidy):
    found = examined(env=environment(tidy, SYNAPSE_HOST="api.synapse.sh"), code=1)
    assert found["host"]["finding"] == "SYNAPSE_HOST: must be a URL like https://api.synapse.sh"


@pytest.mark.parametrize(
    ("overrides", "words", "fix"),
    [
        ({"filter": {"project": 14}}, "refuses access with this token (HTTP 403)", "synapse-export projects"),
        ({"filter": {"project": 987654}}, "this token's member has no role in it", "synapse-export projects"),
        (
            {"target": "ground_truth", "filter": {"ground_truth_dataset_version": 987654}},
            "this token's member has no role in it",
            "synapse-export versions DATASET",
        ),
    ],
)
def test_a_project_without_access(tidy, tmp_path, overrides, words, fix):
    found = examined(config_for(tidy, tmp_path, **{"target": "task", **overrides}), env=environment(tidy), code=1)
    assert states(found, "token", "project", "storage") == ["ok", "error", "ok"]
    assert words in found["project"]["finding"]
    assert found["project"]["fix"] == fix


def test_a_read_only_storage_of_synapse(tidy, tmp_path):
    config = config_for(tidy, tmp_path, path="exports/a", storage=12)
    found = examined(config, env=environment(tidy), code=1)
    assert states(found, "project", "storage", "space") == ["ok", "error", "skipped"]
    assert found["storage"]["finding"] == "storage 12: is a http storage, which is read-only"
    assert found["storage"]["fix"] == "synapse-export storages"


@pytest.mark.parametrize("path", ["/proc/export", "/dev/null/export"])
def test_a_path_that_cannot_be_written(tidy, tmp_path, path):
    config = config_for(tidy, tmp_path, path=path)
    found = examined(config, env=environment(tidy), code=1)
    assert f"{path}: cannot write there: " in found["storage"]["finding"]
    assert f"synapse-export run {config} --set path=ANOTHER" in found["storage"]["fix"]


def test_a_wrong_bucket(tidy, tmp_path, s3_server):
    place = s3_server.place()
    values = settings(tidy, place) | {"path": "s3://a-bucket-that-nobody-has/exports"}
    found = examined(write_config(tmp_path, values), env=environment(tidy, place), code=1)
    assert states(found, "project", "storage", "space") == ["ok", "error", "skipped"]
    assert "there is no bucket 'a-bucket-that-nobody-has'" in found["storage"]["finding"]
    assert found["storage"]["fix"].startswith("aws s3 mb s3://a-bucket-that-nobody-has, or ")


def test_a_bucket_that_is_right(tidy, tmp_path, s3_server):
    place = s3_server.place()
    found = examined(write_config(tmp_path, settings(tidy, place)), env=environment(tidy, place))
    assert states(found, "storage", "space") == ["ok", "skipped"]
    assert list(place.storage().files()) == []


def test_a_full_disk(tidy, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a disk")
    try:
        (folder / "fill").write_bytes(b"0" * 2**20)
        found = examined(config_for(tidy, tmp_path, path=folder / "out"), env=environment(tidy), code=1)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    assert states(found, "project", "storage", "space") == ["ok", "error", "error"]
    assert "the disk is full" in found["storage"]["finding"]
    assert found["storage"]["fix"].startswith(f"df -h {folder}/out, make room")
    assert "0.0 MB free: the disk is full" in found["space"]["finding"]


@pytest.mark.parametrize(
    ("clock", "state", "words"),
    [
        (0.0, "ok", "within a minute"),
        (-300.0, "warning", "5 minutes ahead of the server's"),
        (-7200.0, "error", "2.0 hours ahead of the server's"),
        (3600.0, "error", "60 minutes behind the server's"),
    ],
)
def test_a_skewed_clock(tmp_path, clock, state, words):
    with Sandbox(SandboxOptions(records=3, clock=clock)) as sandbox:
        found = examined("--check", "clock", env=environment(sandbox), code=int(state == "error"))
        strict = command("doctor", "--check", "clock", "--strict", env=environment(sandbox))
    assert found["clock"]["state"] == state
    assert words in found["clock"]["finding"]
    assert found["clock"]["fix"] == ("" if state == "ok" else "timedatectl set-ntp true")
    assert strict.returncode == int(state != "ok")


def test_a_wrong_configuration_is_a_finding_and_the_rest_is_checked(tidy, tmp_path):
    config = config_for(tidy, tmp_path, formats=["cocoo"], filter={"project": 12})
    found = examined(config, env=environment(tidy), code=1)
    assert states(found, "configuration", "host", "token", "project", "storage") == [
        "error", "ok", "ok", "skipped", "skipped",
    ]  # fmt: skip
    assert "cocoo" in found["configuration"]["finding"]
    wrong_key = config_for(tidy, tmp_path, filter={"project": 12, "status_lable": "completed"})
    found = examined(wrong_key, "--check", "configuration", env=environment(tidy), code=1)
    assert "status_label" in found["configuration"]["finding"] + found["configuration"]["fix"]
    found = examined(tmp_path / "none.yaml", env=environment(tidy), code=1)
    assert "cannot read the file" in found["configuration"]["finding"]
    assert states(found, "host", "token", "storage", "ray", "machines") == ["ok", "ok", "skipped", "ok", "skipped"]


def test_an_override_is_checked_as_a_run_would_take_it(tidy, tmp_path):
    config = config_for(tidy, tmp_path)
    found = examined(config, "--set", "filter.project=14", "--check", "project", env=environment(tidy), code=1)
    assert "HTTP 403" in found["project"]["finding"]


def test_one_check_tells_what_it_needs_and_does_not_have(tidy, tmp_path):
    assert list(examined("--check", "token", "--check", "host", env=environment(tidy))) == ["host", "token"]
    env = environment(HOME=str(tmp_path))
    found = examined("--check", "token", env=env, code=1)
    assert states(found, "credentials", "token") == ["error", "skipped"]


def test_a_check_that_does_not_exist_is_corrected(tidy):
    done = command("doctor", "--check", "strorage", env=environment(tidy))
    assert done.returncode == 2
    assert done.stderr == "error: --check: there is no check 'strorage'; did you mean 'storage'?\n"


def test_the_checks_are_listed(tidy):
    listed = command("doctor", "--list-checks", env=environment()).stdout
    assert [line.split()[0] for line in listed.splitlines()] == CHECKS
    told = json.loads(command("doctor", "--list-checks", "--json", env=environment()).stdout)
    assert [check["name"] for check in told["checks"]] == CHECKS


def login(folder, content, mode=0o600):
    (folder / ".synapse").mkdir()
    file = folder / ".synapse/config.json"
    file.write_text(content)
    file.chmod(mode)
    return environment(HOME=str(folder)), file


def test_where_the_credentials_are_from(tidy, tmp_path):
    env, file = login(tmp_path, json.dumps({"host": tidy.url, "access_token": tidy.token, "tenant": "acme"}))
    found = examined("--check", "credentials", "--check", "token", env=env)
    assert found["credentials"]["finding"] == f"token from {file}, host from {file}"
    assert found["token"]["finding"] == "accepted: Sandbox, tenant acme"
    both = examined("--check", "credentials", env={**env, **tidy.environment()})
    assert both["credentials"]["finding"] == "token from SYNAPSE_ACCESS_TOKEN, host from SYNAPSE_HOST"


@pytest.mark.parametrize(
    ("content", "mode", "words", "fix"),
    [
        ("{", 0o600, "cannot be read", "synapse login"),
        ("{}", 0o600, "is not what 'synapse login' writes", "synapse login"),
        ('{"access_token": "canary"}', 0o644, "others of this machine can read", "chmod 600 "),
    ],
)
def test_what_is_wrong_with_the_file_of_synapse_login(tidy, tmp_path, content, mode, words, fix):
    env, _ = login(tmp_path, content, mode)
    found = examined("--check", "credentials", env={**env, **tidy.environment()})
    assert found["credentials"]["state"] == "warning"
    assert words in found["credentials"]["finding"]
    assert found["credentials"]["fix"].startswith(fix)


@pytest.mark.parametrize("token", ["canary\n", "캐너리", "canary\x7f"])
def test_a_token_that_was_copied_wrongly(tidy, token):
    found = examined(env=environment(tidy, SYNAPSE_ACCESS_TOKEN=token), code=1)
    assert states(found, "credentials", "host") == ["error", "skipped"]
    assert "the access token has a letter or a line break that no token has" in found["credentials"]["finding"]


@pytest.mark.parametrize("content", ['{"host": 5, "access_token": "canary"}', '[{"access_token": "canary"}]'])
def test_a_file_of_synapse_login_with_something_else_in_it(tmp_path, content):
    env, file = login(tmp_path, content)
    found = examined(env=env, code=1)
    assert f"{file} is not what 'synapse login' writes" in found["credentials"]["finding"]
    done = command("projects", env=env)
    assert done.returncode == 2
    assert done.stderr == f"error: {file} is not what 'synapse login' writes; run 'synapse login'\n"


def shadowed(tmp_path, name, version):
    """A folder in which a package of another version is found first; for ``PYTHONPATH``."""
    folder = tmp_path / "packages"
    told = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


@pytest.mark.parametrize(
    ("name", "version", "check", "words", "fix"),
    [
        ("synapse-sdk", "2026.1.50", "sdk", "is 2026.1.50, and >=2026.2.10 is needed", "pip install 'synapse-sdk>="),
        ("msgspec", "0.1.0", "packages", "msgspec 0.1.0 (>=", "pip install 'msgspec>="),
        ("ray", "2.9.0", "ray", "Ray is 2.9.0, and >=2.50 is needed", "pip install 'ray>=2.50', or --set run.exec"),
    ],
)
def test_a_package_of_a_version_that_does_not_fit(tidy, tmp_path, name, version, check, words, fix):
    folder = shadowed(tmp_path, name, version)
    found = examined(env=environment(tidy, PYTHONPATH=str(folder)), code=1)
    assert found[check]["state"] == "error"
    assert words in found[check]["finding"]
    assert found[check]["fix"].startswith(fix)


def test_an_sdk_that_cannot_be_imported(tidy, tmp_path):
    (tmp_path / "synapse_sdk.py").write_text("raise ImportError('it is broken')")
    config = config_for(tidy, tmp_path, run={"executor": "ray"})
    found = examined(config, env=environment(tidy, PYTHONPATH=str(tmp_path)), code=1)
    assert found["sdk"]["finding"] == "the Synapse SDK cannot be imported: it is broken"
    assert states(found, "configuration", "host", "token", "storage") == ["skipped"] * 4
    assert found["locale"]["state"] == "ok"


def test_output_without_every_letter(tidy):
    found = examined("--check", "terminal", env=environment(tidy, PYTHONIOENCODING="ascii"))
    assert found["terminal"]["state"] == "warning"
    told = command("doctor", env=environment(tidy, PYTHONIOENCODING="ascii"))
    assert told.returncode == 0, told.stderr
    assert "\\ubaa8\\ub798" in told.stdout


def test_a_terminal(tidy):
    code, written = on_terminal("doctor", "--check", "terminal", env=environment(tidy), columns=90)
    assert code == 0
    assert "xterm-256color, 90 columns" in written
    assert written.splitlines()[-1] == "ready"
    code, written = on_terminal("doctor", "--check", "terminal", "--strict", env=environment(tidy), columns=40)
    assert code == 1
    assert written.splitlines()[-1] == "not ready (1 warning)"


def test_a_cluster_that_is_not_there(tidy, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        config = config_for(tidy, tmp_path, run={"executor": "ray", "address": address})
        found = examined(config, env=environment(tidy), code=1)
        named = examined("--check", "ray", env=environment(tidy, RAY_ADDRESS=address), code=1)
    assert states(found, "ray", "machines") == ["error", "skipped"]
    assert f"cannot start Ray at {address}" in found["ray"]["finding"]
    assert found["ray"]["fix"] == f"ray status --address {address}, or --set run.address=HOST:PORT"
    assert named["ray"] == found["ray"]


def test_the_address_of_a_cluster_does_not_matter_where_no_ray_is_used(tidy, tmp_path):
    found = examined(config_for(tidy, tmp_path), env=environment(tidy, RAY_ADDRESS="127.0.0.1:9"))
    assert "no cluster is named" in found["ray"]["finding"]


# A process in which Ray is of another version than it is.
OTHER_RAY = """
import ray
ray.__version__ = "2.51.0"
import ray._private.utils
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
class TestCluster:
    @contextmanager
    def raylets(self, number, folder, *, before="", **variables):
        """The address of a cluster of so many raylets, whose head runs ``before`` first."""
        code = f"import sys\n{before}\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport raylets\nraylets.main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(number)], env=environment(**LOCAL, **variables), cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            address = process.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield address
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(timeout=60)

    def test_a_cluster_whose_machines_agree(self, tidy, tmp_path):
        with self.raylets(2, tmp_path, PYTHONPATH=str(ROOT), **tidy.environment()) as address:
            config = config_for(tidy, tmp_path, run={"executor": "ray", "address": address})
            found = examined(config, env=environment(tidy, **LOCAL))
            alone = examined("--check", "ray", env=environment(tidy, **LOCAL, RAY_ADDRESS=address))
        assert re.search(
            r"^Ray \S+: 2 machines, 2 CPUs, .*; 2 of 2 CPUs and 3.0 of 3.0 GB free$", found["ray"]["finding"]
        )
        assert found["machines"]["finding"].startswith("2 machines agree: Python 3.")
        assert alone["ray"]["state"] == "ok"
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml"]

    def test_machines_that_differ(self, tidy, tmp_path):
        folder = shadowed(tmp_path, "pillow", "11.0.1")
        path = os.pathsep.join((str(folder), str(ROOT)))
        with self.raylets(1, tmp_path, PYTHONPATH=path, **tidy.environment()) as address:
            config = config_for(tidy, tmp_path, run={"executor": "ray", "address": address})
            found = examined(config, env=environment(tidy, **LOCAL))
        assert found["machines"]["state"] == "warning"
        assert "has pillow 11.0.1 (" in found["machines"]["finding"]
        assert found["machines"]["fix"].startswith("on that machine: pip install pillow==")

    def test_a_machine_without_credentials(self, tidy, tmp_path):
        (tmp_path / "home").mkdir()
        with self.raylets(1, tmp_path, PYTHONPATH=str(ROOT), HOME=str(tmp_path / "home")) as address:
            config = config_for(tidy, tmp_path, run={"executor": "ray", "address": address})
            found = examined(config, env=environment(tidy, **LOCAL), code=1)
        assert "no Synapse access token" in found["machines"]["finding"]

    def test_ray_of_another_version(self, tidy, tmp_path):
        with self.raylets(1, tmp_path, before=OTHER_RAY) as address:
            config = config_for(tidy, tmp_path, run={"executor": "ray", "address": address})
            found = examined(config, env=environment(tidy, **LOCAL), code=1)
        assert states(found, "ray", "machines") == ["error", "skipped"]
        assert "Version mismatch" in found["ray"]["finding"]
        assert "Ray: 2.51.0" in found["ray"]["finding"]
        assert found["ray"]["fix"] == "pip install ray==2.51.0"
