"""What a person meets before any command runs: help, version, wrong usage; and what that costs."""

import json
import subprocess
import sys

import pytest

from exporting import ROOT, command, environment

HEAVY = {"PIL", "aiohttp", "fsspec", "numpy", "pyarrow", "ray", "synapse_sdk", "yaml"}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_looking_around_imports_no_heavy_library_and_no_sandbox(arguments):
    code = (
        "import json, sys\n"
        "from pipeline.cli import main\n"
        f"main({arguments!r})\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    found = set(json.loads(done.stdout.splitlines()[-1]))
    assert "pipeline.sandbox" not in found
    assert not {name.partition(".")[0] for name in found} & HEAVY


def test_the_version_is_printed():
    from pipeline import __version__  # noqa: PLC0415

    done = command("--version", env=environment())
    assert (done.returncode, done.stdout) == (0, f"synapse-export {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "error: No such command 'bogus'; see synapse-export --help"),
        (["run"], "error: Missing argument 'CONFIG'; see synapse-export --help"),
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
