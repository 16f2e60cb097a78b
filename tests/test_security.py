"""Nothing leaks and nothing gets out: secrets, names, temporary files, terminals, and who may name code."""

import importlib
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from exporting import ROOT, command, digest, environment, export, settings, verify, write_config
from pipeline.cli import app, job
from pipeline.errors import ConfigError
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.sandbox.data import SandboxData

CANARY = "canary-5f2c9-of-the-storage"
# Put before all else that a process imports: the folder of Ray's session is removed at its end, and here looked at.
KEEP_SESSIONS = """
import tempfile
tempfile.TemporaryDirectory.cleanup = lambda self: self._finalizer.detach()
"""
CLIMBING = [
    "../../{}", "..\\..\\{}", "/{}", "C:\\{}", "\\\\host\\share\\{}", "%2e%2e%2f{}", "..%2f{}", "....//{}",
    "a/../../{}", "~/{}", "${{HOME}}/{}", "{}\x00.jpg", "\u2025/{}", "\uff0e\uff0e\uff0f{}", "-rf {}", ".{}", "{}/",
    "{}/..", "con/{}",
]  # fmt: skip


def fuzzed_names(number):
    """Names that want to be elsewhere: the known ways, and letters of such ways in any order."""
    dice = random.Random(5)
    letters = ["..", ".", "/", "\\", "%2e", "%2f", "\x00", "~", ":", "a", "\u202e", "\n", "-", " "]
    names = [form.format("stolen.jpg") for form in CLIMBING]
    while len(names) < number:
        names.append("".join(dice.choices(letters, k=dice.randint(1, 12))) + dice.choice(["", "x.jpg", ".png"]))
    return names


def test_no_name_leads_out_of_the_export(tmp_path, monkeypatch):
    """Sixty hostile names as the server may send them, exported in formats that name files after images."""
    names = fuzzed_names(60)
    real = SandboxData.build_record

    def build(data, index):
        record = real(data, index)
        record.original.info["file_name_original"] = names[index % len(names)]
        return record

    monkeypatch.setattr(SandboxData, "build_record", build)
    root = tmp_path / "a/b/c"
    root.mkdir(parents=True)
    with Sandbox(SandboxOptions(profile="tidy", records=60)) as sandbox:
        export(sandbox, root / "out", formats=["coco", "yolo", "voc", "synapse_json", "imagefolder", "webdataset"])
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and root / "out" not in path.parents]
    assert outside == []
    leaves = [
        path for path in (root / "out/images").rglob("*") if path.is_file() and path.suffix not in (".parquet", ".md")
    ]
    assert len(leaves) == 60
    assert all(path.resolve() == path for path in (root / "out").rglob("*"))
    verify(root / "out", full=True)


def test_links_planted_where_files_will_be_are_replaced_and_not_followed(tidy, tmp_path):
    """Whoever may write to the folder plants a link at every path the run used last time."""
    export(tidy, tmp_path / "golden")
    out, victim = tmp_path / "out", tmp_path / "victim"
    export(tidy, out, run={"keep_staging": True})
    victim.write_text("years of work")
    (out / "_SUCCESS.json").unlink()
    planted = [path for path in out.rglob("*") if path.is_file() and "_staging" not in path.parts]
    for path in planted:
        path.unlink()
        path.symlink_to(victim)
    export(tidy, out)
    assert len(planted) > 100
    assert victim.read_text() == "years of work"
    assert digest(out) == digest(tmp_path / "golden")
    assert not [path for path in out.rglob("*") if path.is_symlink()]


def test_nothing_is_left_in_the_temporary_folder_and_nothing_there_has_a_name_to_guess(tidy, tmp_path):
    """The SDK's own cache, ``datamaker/media``, is a link somebody planted: it is not used."""
    temporary, elsewhere = tmp_path / "tmp", tmp_path / "elsewhere"
    temporary.mkdir()
    elsewhere.mkdir()
    (temporary / "datamaker").symlink_to(elsewhere)
    values = settings(tidy, tmp_path / "out", formats=["coco", "voc", "parquet"], packaging="tar")
    done = command("run", write_config(tmp_path, values), env=environment(tidy, TMPDIR=str(temporary)))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in temporary.iterdir()] == ["datamaker"]
    assert list(elsewhere.rglob("*")) == []


def found_secrets(folder, secrets):
    """Files below ``folder`` that hold one of ``secrets``, and how many were read."""
    hits, read = [], 0
    for path in Path(folder).rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        read += 1
        content = path.read_bytes()
        hits += [(str(path), secret) for secret in secrets if secret.encode() in content]
    return hits, read


@pytest.mark.parametrize(
    ("executor", "least"), [("serial", 0), pytest.param("ray", 10, marks=[pytest.mark.ray, pytest.mark.slow])]
)
def test_no_secret_is_in_outputs_logs_messages_or_the_session_of_ray(tmp_path, executor, least):
    """Documents that fail, URLs that run out and files that are gone make the messages that could quote a secret."""
    faults = [
        Fault(route="payloads", kind="404", match="/payloads/00000005.json"),
        Fault(route="originals", kind="403", match="/files/00000007/"),
        Fault(route="payloads", kind="503", every=5),
        Fault(route="pages", kind="html", at=(2,)),
    ]
    session = tempfile.mkdtemp(prefix="s", dir="/tmp")  # short: Ray keeps sockets there
    try:
        options = SandboxOptions(profile="tidy", records=40, payload="presigned", faults=faults)
        with Sandbox(options) as sandbox:
            values = settings(
                sandbox, tmp_path / "out", max_failures=10, run={"executor": executor, "keep_staging": True},
                storage_options={"secret_of_a_store": "${CANARY_SECRET}"},
            )  # fmt: skip
            (tmp_path / "sitecustomize.py").write_text(KEEP_SESSIONS)
            env = environment(
                sandbox, TMPDIR=session, CANARY_SECRET=CANARY, AWS_SECRET_ACCESS_KEY=CANARY,
                PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
            )  # fmt: skip
            done = command("run", write_config(tmp_path, values), env=env, timeout=300)
            secrets = [sandbox.token, CANARY, "X-Sig="]
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert not [secret for secret in secrets if secret in told]
        assert '"outcome":"failed"' in (tmp_path / "out/metadata/failures.jsonl").read_text()
        for folder, wanted in ((tmp_path / "out", 50), (session, least)):
            hits, read = found_secrets(folder, secrets)
            assert hits == []
            assert read >= wanted
    finally:
        shutil.rmtree(session, ignore_errors=True)


def test_names_and_errors_cannot_drive_a_terminal(tidy, tmp_path):
    values = settings(tidy, tmp_path / "out", name="a\x1b[2Jb", classes={"rename": {"car": "c\x1b]0;x\x07r"}})
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr
    values["formats"] = ["\x1b[2Jnone"]
    values["path"] = str(tmp_path / "other")
    refused = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert refused.returncode == 2
    assert "\x1b" not in refused.stdout + refused.stderr


@pytest.fixture
def plugin(monkeypatch):
    """The plugin's module, as the SDK imports it."""
    monkeypatch.syspath_prepend(str(ROOT / "jobs/plugin"))
    for name in [name for name in sys.modules if name == "plugin" or name.startswith("plugin.")]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a model of the SDK
        module = importlib.import_module("plugin.export")
    monkeypatch.delenv(module.TRUST_VARIABLE, raising=False)
    yield module
    for name in [name for name in sys.modules if name == "plugin" or name.startswith("plugin.")]:
        del sys.modules[name]


def asked(plugin, **extra):
    return plugin.ExportParams(
        name="x", storage=1, target="task", filter={"project": 12}, path="out", save_original_file=False,
        extra_params=extra if "format" in extra else {"formats": ["coco"], **extra},
    )  # fmt: skip


REACHING = [
    {"formats": ["os:system"]},
    {"formats": [{"my_module:Format": {}}]},
    {"format": "my_module:Format"},
    {"split": {"by": "file", "file": "/etc/passwd"}},
    {"classes": {"lock": "/etc/profile"}},
    {"run": {"file_hosts": ["169.254.169.254"]}},
    {"run": {"address": "ray://10.0.0.1:10001"}},
]


@pytest.mark.parametrize("extra", REACHING, ids=str)
def test_whoever_fills_in_a_form_cannot_reach_into_the_machine(plugin, monkeypatch, extra):
    """Code to import, files to read or write, addresses: refused, and nothing was imported, until the owner says so."""
    loaded = set(sys.modules)
    with pytest.raises(ConfigError, match=f"reaches into the machine .* {plugin.TRUST_VARIABLE}=1"):
        plugin.export_config(asked(plugin, **extra))
    assert "my_module" not in set(sys.modules) - loaded
    monkeypatch.setenv(plugin.TRUST_VARIABLE, "1")
    assert plugin.export_config(asked(plugin, **extra))


def test_ordinary_parameters_need_no_trust(plugin):
    extra = {"formats": ["coco", {"yolo": {"task": "segment"}}], "split": {"by": "hash"}, "classes": {"drop": ["car"]}}
    assert len(plugin.export_config(asked(plugin, **extra)).formats) == 2


def test_the_archive_of_names_is_long_enough():
    assert len(set(fuzzed_names(60))) == 60
    assert os.sep in "".join(fuzzed_names(60))


LEAKY = """
import logging

class Leaky:
    name = "leaky"
    needs_payload = False

    def manifests(self, catalog):
        return []

    def render(self, sample, catalog):
        logging.getLogger("of.a.library").warning("asking %s", "https://user:{0}@host/logged?X-Amz-Signature={0}")
        raise ValueError("cannot read https://user:{0}@host/a.jpg?X-Amz-Signature={0}")
"""


def test_an_error_of_a_format_cannot_bring_a_secret_of_a_url_into_the_books(tidy, tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY.format(CANARY))
    values = settings(tidy, tmp_path / "out", formats=["leaky:Leaky"], max_failures="100%")
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert "https://host/a.jpg" in (tmp_path / "out/metadata/failures.jsonl").read_text()
    assert found_secrets(tmp_path / "out", [CANARY])[0] == []
    assert "WARNING: asking https://host/logged" in done.stderr
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("as_job", [False, True])
def test_a_defect_is_shown_in_full_but_for_secrets_of_urls(tidy, tmp_path, monkeypatch, capsys, as_job):
    def broken(*_, **__):
        raise RuntimeError(f"https://user:{CANARY}@host/path?sig={CANARY}")

    monkeypatch.setattr("pipeline.run.run", broken)
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    config = str(write_config(tmp_path, settings(tidy, tmp_path / "out")))
    assert (job.main([config], tmp_path) if as_job else app.main(["run", config])) == 1
    told = capsys.readouterr()
    assert "Traceback" in told.err
    assert "RuntimeError: https://host/path\n" in told.err
    assert CANARY not in told.out + told.err
