"""What a person meets before any command runs: help, version, wrong usage; and what that costs."""

import json
import re
import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from exporting import ROOT, command, environment, settings, write_config
from pipeline.cli.app import app
from pipeline.formats import FORMATS, list_formats
from pipeline.formats.registry import describe_format

COMMANDS = typer.main.get_command(app).commands
HEAVY = {"PIL", "aiohttp", "fsspec", "numpy", "pyarrow", "ray", "synapse_sdk", "yaml"}


def imported_by(*arguments, env=None):
    """The modules that a command has imported when it ends; it must succeed."""
    code = (
        "import json, sys\n"
        "from pipeline.cli import main\n"
        f"assert main({list(arguments)!r}) == 0\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages(modules):
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_looking_around_imports_no_heavy_library_and_no_sandbox(arguments):
    found = imported_by(*arguments)
    assert "pipeline.sandbox" not in found
    assert not packages(found) & HEAVY


def test_the_list_of_formats_imports_neither_the_configuration_nor_what_only_a_run_needs():
    found = imported_by("formats")
    assert not packages(found) & (HEAVY | {"requests", "shapely", "pycocotools"})
    assert "pipeline.config" not in found


def test_the_status_of_a_path_imports_neither_the_sdk_nor_what_only_a_run_needs(tmp_path):
    found = imported_by("status", str(tmp_path))
    assert not packages(found) & (HEAVY | {"requests", "shapely", "pycocotools"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verfy"], "'verify'"),
        (["run", "--brek-lock", "a.yaml"], "--break-lock"),
        (["formats", "yol"], "did you mean 'yolo'?"),
        (["formats", "yolo", "tsk=pose"], "did you mean 'task'?"),
        (["plan", "configs/demo.yaml", "--set", "formts=[coco]"], "did you mean 'formats'?"),
        (["plan", "configs/demo.yaml", "--set", "run.worker=1"], "did you mean 'workers'?"),
    ],
)
def test_a_near_miss_is_named(arguments, words):
    done = command(*arguments, env=environment(SANDBOX_PROJECT="12"))
    assert done.returncode == 2
    assert words in done.stderr


def test_the_list_of_formats_says_what_their_classes_say():
    assert {found.name: found for found in list_formats() if not found.package} == {
        name: describe_format(name) for name in FORMATS
    }


def test_a_serial_run_to_a_disk_imports_neither_ray_nor_stores_nor_the_sandbox(tidy, tmp_path):
    plain = {"formats": ["yolo"], "save_original_file": False, "report": False}  # the report measures outlines
    config = write_config(tmp_path, settings(tidy, tmp_path / "export", **plain))
    found = imported_by("run", str(config), env=environment(tidy))
    assert not packages(found) & {"ray", "fsspec", "s3fs", "gcsfs", "boto3"}
    assert not {"shapely", "pyarrow.compute", "pyarrow.dataset", "pipeline.sandbox"} & found


def test_the_version_is_printed():
    from pipeline import __version__  # noqa: PLC0415

    done = command("--version", env=environment())
    assert (done.returncode, done.stdout) == (0, f"synapse-export {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "error: No such command 'bogus'; see synapse-export --help"),
        (
            ["run"],
            "error: CONFIG is missing; name a file, or give --target, --project, --format, --name, --path",
        ),
        (["run", "a.yaml", "b.yaml"], "error: Got unexpected extra argument(s) (b.yaml); see synapse-export --help"),
        (["run", "--bogus", "a.yaml"], "error: No such option: --bogus; see synapse-export --help"),
    ],
)
def test_wrong_usage_is_one_line(arguments, line):
    done = command(*arguments, env=environment())
    assert (done.returncode, done.stderr.splitlines(), done.stdout) == (2, [line], "")


def test_without_a_command_the_help_is_shown():
    done = command(env=environment())
    assert done.returncode == 2
    assert done.stdout == command("--help", env=environment()).stdout
    for name in ("run", "plan", "retry-failed", "verify", "clean", "formats", "sandbox"):
        assert f"\n  {name} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # no description is cut


def test_help_is_plain_text():
    assert "\x1b" not in command("run", "--help", env=environment(FORCE_COLOR="1")).stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sandbox"])
def test_the_help_of_each_command_has_an_example_that_it_takes(name):
    shown = CliRunner().invoke(app, [name, "--help"], terminal_width=200).output
    (example,) = re.findall(r"For example: synapse-export (.*)", shown)
    first, *arguments = example.split()
    assert first == name
    COMMANDS[name].make_context(name, arguments)  # which parses them


# Shells


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell):
    done = command("completion", shell, env=environment())
    assert done.returncode == 0
    assert "_SYNAPSE_EXPORT_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("synapse-export retry", ["retry-failed"]),
        ("synapse-export formats vo", ["voc"]),
        ("synapse-export run --form", ["--format"]),
        ("synapse-export run --format se", ["semantic"]),
        ("synapse-export run my", []),  # bash goes on with the files that begin so
    ],
)
def test_a_shell_completes_what_is_typed(typed, found):
    asked = {
        "_SYNAPSE_EXPORT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1),
    }  # fmt: skip
    done = command(env=environment(**asked))
    assert (done.stdout.split(), done.stderr) == (found, "")


def test_quiet_shows_the_result_only(tidy, tmp_path):
    config = write_config(tmp_path, settings(tidy, tmp_path / "out", formats=["csv"], save_original_file=False))
    loud = command("plan", config, env=environment(tidy))
    done = command("--quiet", "run", config, env=environment(tidy))
    assert (loud.returncode, done.returncode, done.stderr) == (0, 0, "")
    assert "extract" not in done.stdout
    assert "next: " in done.stdout


def test_a_reader_that_has_enough_is_no_error():
    program = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "formats"], env=environment(), cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    program.stdout.close()
    assert b"sys.exit" not in program.stderr.read()
    program.stderr.close()
    assert program.wait(60) == 1
