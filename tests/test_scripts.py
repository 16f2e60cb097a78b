"""The scripts of the repository, where they decide something themselves."""

import os
import re
import shutil
import subprocess

import pytest

from exporting import ROOT, environment


@pytest.mark.parametrize(
    ("failing", "code", "last"),
    [
        ("", 0, "tests without Ray: passed, with Ray: passed"),
        ("not slow and not ray", 1, "tests without Ray: FAILED, with Ray: passed"),
        ("not slow and ray", 1, "tests without Ray: passed, with Ray: FAILED"),
    ],
)
def test_both_parts_of_the_tests_run_and_are_told_together(tmp_path, failing, code, last):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/test", tmp_path / "scripts")
    for name, text in {
        "scripts/setup": "#!/bin/sh\n",
        ".venv/bin/python": f'#!/bin/sh\necho "ran: $4"\n[ "$4" != "{failing}" ]\n',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    done = subprocess.run([tmp_path / "scripts/test"], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert {"ran: not slow and not ray", "ran: not slow and ray"} <= set(lines)
    assert lines[-1] == last


PYTHON = """#!/bin/sh
case "$*" in *venv*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv ;; esac
"""


def test_setup_says_what_it_installs_and_how_long_that_takes(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "scripts/setup", tmp_path / "scripts")
    for name in ("requirements.lock", "pyproject.toml", ".python-version"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin/python3").write_text(PYTHON)
    (tmp_path / "bin/python3").chmod(0o755)
    env = {**environment(), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    first, second = (
        subprocess.run([tmp_path / "scripts/setup"], env=env, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    packages = len(re.findall("^[a-z].*==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert f"making .venv: {packages} packages of requirements.lock" in first.stdout
    assert "takes about two minutes" in first.stdout
    assert [line.strip()[:6] for line in first.stdout.splitlines()[2:]] == ["1 of 3", "2 of 3", "3 of 3"]
    assert second.stdout == ""


def test_no_property_is_judged_by_time():
    """The shared profile of tests/conftest.py says so for all; a test with health checks of its own would undo it."""
    own = [path.name for path in ROOT.glob("tests/*/**/test_*.py") if "suppress_health_check" in path.read_text()]
    assert own == []
