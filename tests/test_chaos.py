"""The chaos tool itself, a few kills of each kind: every one is continued to the same bytes."""

import re
import subprocess
import sys

import pytest

from exporting import ROOT, environment
from scripts.chaos import HALF_LIMIT, Figures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def chaos(*arguments):
    """Run the tool; its last line, as numbers by their names."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.chaos", *arguments], env=environment(), cwd=ROOT,
        capture_output=True, text=True, timeout=580, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *rounds, last = done.stdout.splitlines()
    assert re.fullmatch(r"kills=\d+ resumed=\d+ identical=\d+ false_complete=\d+ refetched=\d+\.\d%", last), last
    figures = {name: float(value.rstrip("%")) for name, value in (pair.split("=") for pair in last.split())}
    assert sum(" killed " in line for line in rounds) == figures["kills"]
    return figures


@pytest.mark.parametrize(
    ("executor", "store", "kills"),
    [
        pytest.param("serial", "local", 4),
        pytest.param("serial", "s3", 3),
        pytest.param("processes", "local", 3),
        pytest.param("ray", "local", 2, marks=[pytest.mark.ray, pytest.mark.xdist_group("ray")]),
    ],
)
def test_every_kill_is_continued_to_the_same_bytes(executor, store, kills):
    figures = chaos("--executor", executor, "--store", store, "--kills", str(kills), "--seed", "7", "--records", "60")
    assert figures["kills"] == figures["resumed"] == figures["identical"] == kills
    assert figures["false_complete"] == 0


def test_after_a_kill_at_half_of_the_extraction_less_than_60_percent_is_fetched_again():
    assert chaos("--kills", "1", "--at", "half", "--records", "60")["refetched"] < 100 * HALF_LIMIT == 60


@pytest.mark.parametrize(
    "wrong",
    [{"resumed": 1}, {"identical": 1}, {"false_complete": 1}, {"refetched": [0.1, 0.6]}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_not_as_promised_is_not_called_good(wrong):
    good = {"refetched": [0.1, 0.2], "kills": 2, "resumed": 2, "identical": 2}
    assert Figures(**good).holds("half")
    assert str(Figures(**good)) == "kills=2 resumed=2 identical=2 false_complete=0 refetched=15.0%"
    assert not Figures(**good | wrong).holds("half")
