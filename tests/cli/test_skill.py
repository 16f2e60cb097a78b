"""The skill file for agents: each of its commands runs, in its order, and prints what it says."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from exporting import ROOT, command, environment
from pipeline.sandbox import Sandbox, SandboxOptions

TEXT = (ROOT / "skills/synapse-export/SKILL.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


def test_it_is_printed_and_has_a_head_that_agents_look_for():
    done = command("skill", env=environment())
    assert (done.returncode, done.stdout) == (0, TEXT)
    _, head, _ = TEXT.split("---\n", 2)
    assert re.search(r"^name: synapse-export$", head, re.MULTILINE)
    assert re.search(r"^description: .{40,500}$", head, re.MULTILINE)


def test_every_command_in_it_runs(tmp_path):
    (configuration,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "my.yaml").write_text(configuration)
    told = {}
    with Sandbox(SandboxOptions(records=12)) as sandbox:
        for line in LINES:
            program, *arguments = shlex.split(line)
            assert program == "synapse-export"
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", *arguments], cwd=tmp_path, capture_output=True, text=True,
                timeout=120, check=False, env=environment(sandbox, PYTHONPATH=str(ROOT)),
            )  # fmt: skip
            assert done.returncode == 0, line + done.stderr
            if "--json" in arguments:
                told[arguments[0]] = json.loads(done.stdout)
    assert told["doctor"]["ready"] is True
    assert {"records", "classes", "splits", "written", "books", "warnings", "obstacles"} <= set(told["plan"])
    assert {"books", "warnings", "next", "how_to_read"} <= set(told["run"])
    assert told["status"]["state"] == "finished"
    assert told["verify"]["complete"] is True
    assert told["diff"]["same"] is True


@pytest.mark.parametrize("name", ["doctor", "plan", "run", "status", "verify"])
def test_the_order_of_work_names_each_step(name):
    steps = [line.split()[1] for line in LINES]
    assert name in steps
    assert [step for step in dict.fromkeys(steps) if step in ("doctor", "plan", "run", "status", "verify")] == [
        "doctor", "plan", "run", "status", "verify",
    ]  # fmt: skip


def test_its_error_is_as_it_says(tmp_path):
    done = command("run", tmp_path / "nowhere.yaml", "--json", env=environment())
    assert done.returncode == 2
    assert set(json.loads(done.stderr)["error"]) == {"code", "message", "hint"}
