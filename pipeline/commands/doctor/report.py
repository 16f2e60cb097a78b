"""What the doctor says: a finding for each check, and the verdict."""

from enum import StrEnum

import msgspec

from pipeline.errors import ExportError


class State(StrEnum):
    """How a check came out. Only an error stands in the way of a run."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True):
    """What one check found, and for a warning or an error the command (or the words) that repair it."""

    state: State
    finding: str
    fix: str = ""


class Report(msgspec.Struct, frozen=True):
    """The findings by check, in the order of the checks."""

    findings: dict[str, Finding]

    def count(self, state: State) -> int:
        """How many checks came out so."""
        return sum(one.state is state for one in self.findings.values())

    def is_ready(self, *, strict: bool = False) -> bool:
        """Whether nothing that was checked stands in the way; ``strict`` counts warnings as errors."""
        return not self.count(State.ERROR) and not (strict and self.count(State.WARNING))


def ok(finding: str) -> Finding:
    """A finding that is as it should be."""
    return Finding(State.OK, finding)


def warning(finding: str, fix: str) -> Finding:
    """A finding that a run gets along with."""
    return Finding(State.WARNING, finding, fix)


def error(finding: str, fix: str) -> Finding:
    """A finding that a run ends with."""
    return Finding(State.ERROR, finding, fix)


def skipped(why: str) -> Finding:
    """A check that has nothing to look at."""
    return Finding(State.SKIPPED, why)


def failed(problem: ExportError, fix: str = "") -> Finding:
    """The error that a run would end with; ``fix`` is better than what the error itself advises."""
    told, hint = problem.parts
    return error(told, fix or hint or "see docs/doctor.md")
