"""What a person meets: one clear line, the right exit code, nothing written when nothing was started."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml

from exporting import command, digest, environment, export, settings, summary, write_config
from pipeline.cli.plan_report import print_forecast
from pipeline.commands.forecast import forecast
from pipeline.commands.session import open_session
from pipeline.config.loading import load_config, parse_config
from pipeline.formats import FORMATS
from pipeline.sandbox import Fault, Sandbox, SandboxOptions
from pipeline.synapse.source import Source
from stores import environment_of


def refused(sandbox, tmp_path, *, env=None, **overrides):
    config = write_config(tmp_path, settings(sandbox, overrides.pop("path", tmp_path / "out"), **overrides))
    before = sorted(tmp_path.rglob("*"))
    done = command("run", config, env=env or environment(sandbox), timeout=60)
    assert done.returncode == 2, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_misspelt_filter_key_is_refused(tidy, tmp_path):
    line = refused(tidy, tmp_path, filter={"project": tidy.project_id, "status_lable": "completed"})
    assert "status_lable" in line
    assert "status_label" in line


def test_an_unknown_project_is_refused(tidy, tmp_path):
    assert "987654" in refused(tidy, tmp_path, filter={"project": 987654})


def test_an_unknown_ground_truth_version_is_refused(tidy, tmp_path):
    line = refused(tidy, tmp_path, target="ground_truth", filter={"ground_truth_dataset_version": 987654})
    assert "987654" in line


def test_a_dead_host_is_refused(tidy, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert host in refused(tidy, tmp_path, env=environment(tidy, SYNAPSE_HOST=host))


def test_a_wrong_token_is_refused_and_not_repeated(tidy, tmp_path):
    line = refused(tidy, tmp_path, env=environment(tidy, SYNAPSE_ACCESS_TOKEN="canary-token"))
    assert "does not accept the access token (HTTP 401); set SYNAPSE_ACCESS_TOKEN or run 'synapse login'" in line
    assert "canary" not in line


def test_a_missing_token_says_which_variable_to_set(tidy, tmp_path):
    env = environment(tidy, HOME=str(tmp_path))
    del env["SYNAPSE_ACCESS_TOKEN"]
    assert "SYNAPSE_ACCESS_TOKEN" in refused(tidy, tmp_path, env=env)


@pytest.mark.parametrize("name", ["plan", "run"])
def test_google_storage_without_credentials_is_one_line(tidy, tmp_path, name):
    """Where the server that gives Google's own machines credentials cannot be reached."""
    config = write_config(tmp_path, settings(tidy, "gs://a-bucket-that-nobody-has/export"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{closed.getsockname()[1]}"
        own = {"HOME": str(tmp_path), "GCE_METADATA_HOST": server, "GCE_METADATA_IP": server}
        env = environment(tidy, **own)
        env = {key: value for key, value in env.items() if not re.search("GOOGLE|PROXY", key.upper())}
        done = command(name, config, env=env)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: gs://a-bucket-that-nobody-has/export: ")
    assert "credentials" in line


@pytest.mark.parametrize("path", ["/proc/export", "/dev/null/export"])
def test_an_unwritable_path_is_refused(tidy, tmp_path, path):
    assert path in refused(tidy, tmp_path, path=path)


FUTURE = "2100-01-01T00:00:00Z"


def test_a_filter_that_matches_nothing_is_an_error_of_its_own_and_an_export_that_is_there_stays(tidy, tmp_path):
    export(tidy, tmp_path / "out", formats=["coco"])
    before = digest(tmp_path / "out")
    values = settings(
        tidy, tmp_path / "out", formats=["coco"], on_existing="overwrite",
        filter={"project": tidy.project_id, "created__gt": FUTURE},
    )  # fmt: skip
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: filter: matches no record: ")
    assert "allow_empty: true" in done.stderr
    assert digest(tmp_path / "out") == before


def test_no_record_is_a_warning_where_the_configuration_allows_it(tidy, tmp_path):
    selection = {"project": tidy.project_id, "created__gt": FUTURE}
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", filter=selection, allow_empty=True))
    done = command("run", config, env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert "warning: the filter matches no record: the export is empty" in done.stdout
    again = command("run", config, "--set", "allow_empty=false", env=environment(tidy))
    assert "already complete" in again.stdout


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_the_memory_of_one_process_is_no_place_for_workers(tidy, tmp_path):
    run = {"executor": "ray", "workers": 1}
    assert "use run.executor: serial" in refused(tidy, tmp_path, path="memory://lost", run=run)


def test_an_unknown_format_is_refused(tidy, tmp_path):
    assert "unknown format 'cocoa'" in refused(tidy, tmp_path, formats=["cocoa"])


def test_an_unknown_format_option_is_refused(tidy, tmp_path):
    assert "formats.yolo.tusk: unknown option" in refused(tidy, tmp_path, formats=[{"yolo": {"tusk": "detect"}}])


def test_a_storage_that_is_not_there_is_refused(tidy, tmp_path):
    assert "4321" in refused(tidy, tmp_path, storage=4321, path="exports/a")


def test_plan_shows_what_would_be_and_writes_nothing(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out"))
    done = command("plan", config, env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert "60 records" in done.stdout
    assert "3 shards of up to 20 records" in done.stdout
    assert "nothing is there yet" in done.stdout
    assert "UNSUPPORTED_ANNOTATION_TYPE" in done.stdout
    assert not (tmp_path / "out").exists()


ALL_FORMATS = [
    "coco", {"yolo": {"task": "segment", "folder": "segment"}}, {"voc": {"images": "transcode"}},
    "imagefolder", "webdataset", "parquet", "csv", "synapse_json",
]  # fmt: skip


@pytest.mark.parametrize("packaging", ["files", "tar"])
def test_plan_foretells_what_run_does(tidy, tmp_path, packaging):
    """Its books are those of the run, for every format, and its bytes are near those that are there."""
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", formats=ALL_FORMATS, packaging=packaging))
    with environment_of(tidy.environment()):
        told = forecast(load_config(config))
    assert not (tmp_path / "out").exists()
    done = export(tidy, tmp_path / "out", formats=ALL_FORMATS, packaging=packaging).success.ledger
    assert told.exit_code == 0
    assert {name: (books.samples, books.annotations, books.losses) for name, books in told.ledger.formats.items()} == {
        name: (books.samples, books.annotations, books.losses) for name, books in done.formats.items()
    }
    assert (told.ledger.records, told.ledger.annotations) == (done.records, done.annotations)
    assert told.ledger.originals.written == done.originals.written
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert told.written.low <= told.written.bytes <= told.written.high
    assert 0.75 * written < told.written.bytes < 1.25 * written
    assert told.unknown_originals == 0


def test_plan_asks_for_sizes_of_some_originals_and_fetches_none(tmp_path):
    with Sandbox(SandboxOptions(records=60)) as sandbox:
        config = write_config(tmp_path, settings(sandbox, tmp_path / "out", formats=["webdataset"]))
        done = command("plan", config, env=environment(sandbox))
        asked = [request for request in sandbox.requests() if "/blobs/files" in request["path"]]
    assert done.returncode == 0, done.stderr
    assert 0 < len(asked) <= 20
    assert re.search(r"^for all records: .* to read, about \d+ MB \(.* to .*\) to write$", done.stdout, re.MULTILINE)


def test_plan_says_when_nobody_tells_the_sizes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.synapse.original_sizes.MOST_SECONDS", 0.3)
    with Sandbox(SandboxOptions(records=5, faults=(Fault(route="originals", kind="hang"),))) as sandbox:
        config = write_config(tmp_path, settings(sandbox, tmp_path / "out", formats=["coco"]))
        with environment_of(sandbox.environment()):
            assert print_forecast(load_config(config)) == 0
    assert "without the originals: nobody tells their sizes" in capsys.readouterr().out


def planned(sandbox, tmp_path, code, **overrides):
    config = write_config(tmp_path, settings(sandbox, overrides.pop("path", tmp_path / "out"), **overrides))
    done = command("plan", config, env=environment(sandbox))
    assert done.returncode == code, done.stdout + done.stderr
    return config, done.stdout


def test_plan_says_that_nothing_would_be_published_when_records_fail(nasty, tmp_path):
    config, told = planned(nasty, tmp_path, 3)
    assert re.search(r"a run would end with exit code 3: \d+ of the newest 100 records fail, max_failures is 0: ", told)
    assert command("run", config, env=environment(nasty)).returncode == 3


@pytest.mark.parametrize("target", ["task", "assignment"])
def test_plan_counts_the_records_in_states_that_a_dataset_may_not_want(tidy, tmp_path, target):
    everything = {"project": tidy.project_id}
    _, told = planned(tidy, tmp_path, 0, target=target)
    (line,) = [line for line in told.splitlines() if "in these states are exported too" in line]
    config = parse_config(json.dumps(settings(tidy, tmp_path / "out", target=target)))
    with environment_of(tidy.environment()), open_session(config) as session:
        client = session.workspace.client
        for name, state in (
            ("discarded", {"is_discarded": "true"}),
            ("rejected", {"status_review": "rejected"}),
            ("in_progress", {"status_label": "in_progress"}),
        ):
            assert f" {Source(client, target, everything | state).count()} {name}" in line
    without = yaml.safe_load(line.partition("leaves them out: ")[2])
    assert without == {"is_discarded": False, "status_review": "completed", "status_label": "completed"}
    _, told = planned(tidy, tmp_path, 0, target=target, filter=everything | without)
    assert "in these states" not in told


def test_plan_says_that_a_filter_matches_nothing(tidy, tmp_path):
    _, told = planned(tidy, tmp_path, 4, filter={"project": tidy.project_id, "created__gt": FUTURE})
    assert "a run would end with exit code 4: filter: matches no record" in told


MISSPELT = {"drop": ["carr"], "rename": {"trukc": "bus"}}


def test_a_name_that_resembles_none_is_a_warning_of_plan_where_it_saw_only_some_records(tmp_path):
    with Sandbox(SandboxOptions(records=120)) as sandbox:
        _, told = planned(sandbox, tmp_path, 0, classes={"drop": ["Elefant"]}, formats=["csv"])
    problem = "classes.drop: 'Elefant' is a class of neither the project nor the newest 100 records"
    assert told.count("Elefant") == told.count(f"warning: {problem}") == 1


def test_a_misspelt_class_is_an_error_of_plan_and_a_warning_of_run(tidy, tmp_path):
    config, told = planned(tidy, tmp_path, 2, classes=MISSPELT)
    problems = (
        "classes.drop: 'carr' is a class of neither the project nor the data; did you mean 'car'?",
        "classes.rename: 'trukc' is a class of neither the project nor the data; did you mean 'truck'?",
    )
    for problem in problems:
        assert told.count(problem) == told.count(f"error: {problem}") == 1
    done = command("run", config, env=environment(tidy))
    assert done.returncode == 0, done.stderr
    for problem in problems:
        assert f"warning: {problem}" in done.stdout


def test_run_prints_counts_classes_losses_and_what_to_do_next(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out"))
    done = command("run", config, env=environment(tidy))
    assert done.returncode == 0, done.stderr
    for text in (
        "60 of 60 records",
        "classes (",
        "splits: train",
        "coco annotations",
        "where: ",
        "next: ",
    ):
        assert text in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "[/" not in done.stdout  # rich-based log followers take that for markup


def test_failed_records_have_one_number_wherever_they_are_told(nasty, tmp_path):
    config = write_config(tmp_path, settings(nasty, tmp_path / "out", max_failures="100%"))
    told = command("run", config, env=environment(nasty)).stdout
    lines = map(json.loads, (tmp_path / "out/metadata/failures.jsonl").read_text().splitlines())
    failed = len({line["record_id"] for line in lines if line["outcome"] == "failed"})
    books = summary(tmp_path / "out")
    records = books["records"]
    assert failed == books["failed_records"] == sum(records["failed"].values()) > books["partial_records"] > 0
    assert records["seen"] == records["written"] + sum(records["skipped"].values()) + failed
    by_stage = re.findall(r"^(?:extract|render): .* (\d+) failures", told, re.MULTILINE)
    assert len(by_stage) == 2
    assert sum(map(int, by_stage)) == failed
    in_part = f"{books['partial_records']} of these are exported in part"
    assert f"{records['written']} of {records['seen']} records exported; {failed} failed, {in_part}" in told
    assert f"warning: {failed} records failed: " in told
    row = next(line for line in told.splitlines() if line.startswith("records"))
    assert row.split()[-1] == str(failed)
    one_less = ("--set", f"path={tmp_path / 'again'}", "--set", f"max_failures={failed - 1}")
    refused = command("run", config, *one_less, env=environment(nasty))
    assert refused.returncode == 3
    assert f"error: {failed} of {records['seen']} records failed" in refused.stderr


def test_run_reports_progress_line_by_line_when_it_is_not_a_terminal(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out"))
    lines = command("run", config, env=environment(tidy)).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:6]] == ["plan", "extract", "catalog", "render", "merge", "publish"]
    assert lines[1].startswith("extract: 60 of 60 records, ")


def test_set_overrides_the_file(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, "/proc/nowhere"))
    done = command("run", config, "--set", f"path={tmp_path / 'out'}", "--set", "formats=[coco]", env=environment(tidy))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out/labels").exists()


@pytest.fixture(scope="module")
def finished(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "out"
    export(tidy, path)
    return path


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_verify_proves_a_finished_export(copy):
    done = command("verify", copy, "--full", env=environment())
    assert done.returncode == 0
    assert done.stdout.startswith("complete: ")


def test_verify_names_what_is_missing_damaged_or_added(copy):
    labels = sorted(copy.glob("labels/train/*.txt"))
    labels[0].unlink()
    size = labels[1].stat().st_size
    labels[1].write_bytes(labels[1].read_bytes() + b"0 0.5 0.5 0.1 0.1\n")
    (copy / "images/train/extra.jpg").write_bytes(b"")
    done = command("verify", copy, env=environment())
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: missing: labels/train/{labels[0].name}",
        f"damaged: labels/train/{labels[1].name} ({size + 18} bytes instead of {size})",
        "not listed: images/train/extra.jpg",
    ]


def test_verify_finds_a_changed_byte_only_when_it_reads_everything(copy):
    image = next(copy.glob("images/train/*"))
    data = image.read_bytes()
    image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert command("verify", copy, env=environment()).returncode == 0
    done = command("verify", copy, "--full", env=environment())
    assert done.returncode == 1
    assert f"damaged: images/train/{image.name} (sha256 differs)" in done.stderr


@pytest.mark.parametrize("name", ["metadata/files.csv", "metadata/SHA256SUMS"])
def test_verify_does_not_trust_a_changed_list(copy, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:-10])
    done = command("verify", copy, env=environment())
    assert done.returncode == 1
    assert f"damaged: {name}" in done.stderr


def test_verify_says_when_there_is_no_finished_export(copy, tmp_path):
    (copy / "_SUCCESS.json").unlink()
    for path in (copy, tmp_path / "nowhere"):
        done = command("verify", path, env=environment())
        assert done.returncode == 1
        assert "no finished export" in done.stderr


def test_verify_reads_nothing_but_the_export(finished):
    assert digest(finished) == digest(finished)


def test_the_sandbox_command_serves_until_it_is_told_to_stop(tmp_path):
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "sandbox", "--records", "5", "--ready-file", ready],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        url = json.loads(ready.read_text())["url"]
        with urllib.request.urlopen(f"{url}/__sandbox__/log", timeout=10) as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"export SYNAPSE_HOST={url}" in output


def test_help_names_every_command():
    done = command("--help", env=environment())
    assert done.returncode == 0
    for name in ("run", "plan", "verify", "sandbox"):
        assert name in done.stdout


def test_the_formats_are_listed_with_their_options():
    finished = command("formats", env=environment())
    assert finished.returncode == 0
    assert all(f"\n{name}: " in "\n" + finished.stdout for name in FORMATS)
    assert "box_segmentation='empty'" in finished.stdout


def test_what_becomes_of_annotations_is_shown_for_the_options_given():
    finished = command("formats", "yolo", "task=segment", "outlines=largest", env=environment())
    assert finished.returncode == 0
    assert re.search(r"^polygon: +kept$", finished.stdout, re.MULTILINE)
    assert re.search(r"^mask with a hole: +lossy MASK_HOLE_DROPPED", finished.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("yolo", "task"), ("yolo", "task=[", "x=1"), ("yolo", "colour=red")]
)
def test_formats_and_options_that_do_not_exist_are_refused(arguments):
    finished = command("formats", *arguments, env=environment())
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: ")
    assert "Traceback" not in finished.stderr


def test_what_fails_on_the_way_out_of_a_stopped_run_is_not_the_reason(tidy, tmp_path, monkeypatch, capsys):
    from pipeline.cli import app as cli  # noqa: PLC0415
    from pipeline.errors import TransientError  # noqa: PLC0415

    def stopped(*_, **__):
        try:
            raise SystemExit(143)
        finally:
            raise TransientError("a worker was lost")

    monkeypatch.setattr("pipeline.run.run", stopped)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    assert cli.main(["run", str(write_config(tmp_path, settings(tidy, tmp_path / "out")))]) == 143
    assert "a worker was lost" not in capsys.readouterr().err
