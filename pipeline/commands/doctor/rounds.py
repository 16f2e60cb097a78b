"""Which checks there are, in which order, and what each needs of the others."""

import difflib
from collections.abc import Callable, Collection, Iterable

import msgspec

from pipeline.commands.doctor import cluster, machine, place, server
from pipeline.commands.doctor.examination import Examination, Terminal, examination
from pipeline.commands.doctor.report import Finding, Report, State, failed, skipped
from pipeline.errors import ConfigError, ExportError


class Check(msgspec.Struct, frozen=True):
    """One check. It is skipped when a check that it ``needs`` came out as an error, or was skipped for one."""

    run: Callable[[Examination], Finding]
    needs: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What it checks, in a sentence."""
        return (self.run.__doc__ or "").strip()


_API = ("sdk", "credentials", "host", "token")
CHECKS: dict[str, Check] = {
    "sdk": Check(machine.check_sdk),
    "packages": Check(machine.check_packages),
    "configuration": Check(place.check_configuration, ("sdk",)),
    "credentials": Check(machine.check_credentials, ("sdk",)),
    "host": Check(server.check_host, ("sdk", "credentials")),
    "token": Check(server.check_token, ("sdk", "credentials", "host")),
    "clock": Check(server.check_clock, ("sdk", "credentials", "host")),
    "project": Check(server.check_project, (*_API, "configuration")),
    "storage": Check(place.check_storage, ("sdk", "configuration")),
    "space": Check(place.check_space, ("sdk", "configuration")),
    "ray": Check(cluster.check_ray),
    "machines": Check(cluster.check_machines, (*_API, "configuration", "storage", "ray")),
    "locale": Check(machine.check_locale),
    "terminal": Check(machine.check_terminal),
}
"""In the order of a run: what comes first is needed by what follows."""

_OF_CONFIGURATION = frozenset({"project", "storage", "space"})


def find_checks(names: Iterable[str]) -> list[str]:
    """The names, once each and in the order of the checks; all for none. Raises ConfigError for an unknown one."""
    names = list(names)
    for name in names:
        if name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, n=1)
            what = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHECKS)}"
            raise ConfigError("--check", f"there is no check {name!r}; {what}")
    return [name for name in CHECKS if not names or name in names]


def examine(
    path: str | None = None,
    *,
    names: Collection[str] = (),
    overrides: tuple[str, ...] = (),
    terminal: Terminal | None = None,
    listener: Callable[[str, Finding], None] | None = None,
) -> Report:
    """Check what a run of the configuration at ``path`` needs, or without one what every run needs.

    ``names`` are the checks to make, all by default. What they need of others is checked, too, and told when it is
    wrong. ``listener`` gets each finding as soon as it is there. A probe is written to the destination and deleted;
    nothing else is changed. Raises ConfigError for an unknown name.
    """
    wanted = find_checks(names)
    needed = {need for name in wanted for need in CHECKS[name].needs}
    found: dict[str, Finding] = {}
    shown: dict[str, Finding] = {}
    with examination(path, overrides, terminal) as examined:
        for name in CHECKS:
            if name not in wanted and name not in needed:
                continue
            found[name] = _check(name, examined, found)
            if name in wanted or found[name].state is State.ERROR:
                shown[name] = found[name]
                if listener:
                    listener(name, found[name])
    return Report(shown)


def _check(name: str, examined: Examination, found: dict[str, Finding]) -> Finding:
    check = CHECKS[name]
    for need in check.needs:
        if found[need].state is State.ERROR or found[need].finding.startswith(_NEEDS):
            return skipped(f"{_NEEDS} {need}")
    if name in _OF_CONFIGURATION and examined.path is None:
        return skipped("a configuration says it")
    try:
        return check.run(examined)
    except ExportError as problem:
        return failed(problem)


_NEEDS = "needs another check to be right:"
