"""docs/reliability.md: every row of the matrix is there, and every test it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text()
ROWS = 40
THREATS = 19


def table(heading):
    """The cells of each row of the table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


FAULTS = table("The failure matrix")
SECURITY = table("The security matrix")


@cache
def names_of_tests(path):
    """Names of the tests of a file, also of those in classes."""
    tree = ast.parse((ROOT / path).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def named(text):
    """Files and tests that a text names; the test is empty where a whole file is meant."""
    return re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)


def test_every_row_of_the_matrix_is_there_once_and_in_order():
    assert [int(row[0]) for row in FAULTS] == list(range(1, ROWS + 1))
    assert len(SECURITY) == THREATS
    assert all(len(row) == 5 for row in FAULTS)
    assert all(len(row) == 4 for row in SECURITY)


@pytest.mark.parametrize("row", [*(row[1:] for row in FAULTS), *SECURITY], ids=lambda row: row[0])
def test_every_row_is_shown_or_says_why_not(row):
    fault, behaviour, shown, figure = row
    assert fault
    assert figure
    assert named(shown) or "not promised" in behaviour.lower() + shown


def test_every_named_test_exists():
    found = named(PAGE)
    assert len(found) > 80
    for path, test in found:
        assert (ROOT / path).is_file(), path
        if test:
            assert test in names_of_tests(path), f"{path}::{test}"
        else:
            assert names_of_tests(path), path
