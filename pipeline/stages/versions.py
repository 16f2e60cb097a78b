"""Versions of Python and of packages: which are there, which this package accepts, and which must be the same."""

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import msgspec
from packaging.requirements import Requirement

_OWN = "synapse-export"
COMPARED = (
    "msgspec", "numpy", "pillow", "pyarrow", "pycocotools", "pydantic", "ray", "shapely", "synapse-sdk",
)  # fmt: skip
"""Packages that decide bytes of an export, or that machines of a cluster talk with."""


class Versions(msgspec.Struct, frozen=True):
    """Python, and those packages of ``COMPARED`` that are installed, each with its version."""

    python: str
    packages: dict[str, str]

    def differences(self, other: "Versions") -> list[tuple[str, str, str]]:
        """What differs: its name, its version here and the one in ``other``, ``"none"`` where it is missing."""
        names = dict.fromkeys((*self.packages, *other.packages))
        pairs = [("Python", self.python, other.python)]
        pairs += [(name, self.packages.get(name, "none"), other.packages.get(name, "none")) for name in names]
        return [pair for pair in pairs if pair[1] != pair[2]]


class Package(msgspec.Struct, frozen=True):
    """A package that this one needs. ``version`` is ``""`` where it is not installed, ``accepted`` is ``>=1.2``.

    ``fits`` says whether the version is accepted.
    """

    name: str
    version: str
    accepted: str
    fits: bool


def versions_here() -> Versions:
    """The versions in this process."""
    found = {name: installed(name) for name in COMPARED}
    return Versions(platform.python_version(), {name: number for name, number in found.items() if number})


def installed(name: str) -> str:
    """The version of a package, or ``""`` where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def needed_packages() -> dict[str, Package]:
    """What this package needs, by name; nothing where it is not installed itself, as in the folder of a job."""
    try:
        lines = requires(_OWN) or []
    except PackageNotFoundError:
        return {}
    wanted = (Requirement(line) for line in lines)
    # What has a marker belongs to an extra.
    return {_normal(one.name): _judged(one) for one in wanted if one.marker is None}


def _judged(wanted: Requirement) -> Package:
    found = installed(wanted.name)
    fits = bool(found) and wanted.specifier.contains(found, prereleases=True)
    return Package(wanted.name, found, str(wanted.specifier), fits)


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
