"""A few seeds of each kind of fuzz; ``python -m tests.fuzz`` runs as many as one likes (docs/reliability.md)."""

import subprocess
import sys

import pytest

from exporting import ROOT, environment
from tests.fuzz.cases import KINDS, Lab
from tests.fuzz.world import fresh

SEEDS = {
    "answers": 24,
    "rows": 24,
    "documents": 24,
    "payloads": 16,
    "originals": 16,
    "configurations": 48,
    "staged": 16,
}
GROUPS = 4

pytestmark = pytest.mark.xdist_group("fuzz")  # they share the servers and the undisturbed exports


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.mark.parametrize("group", [0, *(pytest.param(group, marks=pytest.mark.slow) for group in range(1, GROUPS))])
@pytest.mark.parametrize("kind", KINDS)
def test_every_case_ends_with_what_is_right_or_one_clear_line(lab, tmp_path, kind, group):
    for seed in range(group, SEEDS[kind], GROUPS):
        try:
            KINDS[kind](lab, seed, fresh(tmp_path / "case"))
        except Exception as error:
            error.add_note(
                f"kind {kind}, seed {seed}; again: python -m tests.fuzz --kind {kind} --seed {seed} --cases 1"
            )
            raise


def test_the_same_seed_is_the_same_case_in_any_company(lab, tmp_path):
    ends = [[KINDS["documents"](lab, seed, fresh(tmp_path / "case")) for seed in order] for order in ((3, 4), (4, 3))]
    assert ends[0] == ends[1][::-1]


def test_the_command_counts_its_cases_by_how_they_ended():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--kind", "configurations", "--cases", "5", "--seed", "1"],
        env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "cases=5 seed=1 wrong=0"
