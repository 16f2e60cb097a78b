"""Checks of Ray: that it is installed and, where a run would join a cluster, that it can and that machines agree."""

import re
from contextlib import closing

from pipeline.commands.doctor.examination import Examination
from pipeline.commands.doctor.report import Finding, error, failed, ok, skipped, warning
from pipeline.errors import ExportError
from pipeline.stages.versions import Versions, installed, needed_packages, versions_here

_OTHER_RAY = re.compile(r"cluster was started with:?\s*Ray: (\S+)\s*Python: (\S+)", re.IGNORECASE)


def check_ray(examined: Examination) -> Finding:
    """Ray is installed; the cluster of the configuration or of ``RAY_ADDRESS`` answers and has room."""
    found, version = needed_packages().get("ray"), installed("ray")
    accepted = found.accepted if found else ""
    if not version or (found and not found.fits):
        told = f"Ray is {version}, and {accepted} is needed" if version else "Ray is not installed"
        if examined.executor not in ("", "ray") and not examined.cluster:
            return skipped(f"{told}; run.executor: {examined.executor} does without it")
        return error(told, f"pip install 'ray{accepted}', or --set run.executor=serial")
    if not examined.cluster:
        return ok(f"Ray {version} is installed; no cluster is named, so this machine does the work")
    from pipeline.executors.ray_cluster import free_room  # noqa: PLC0415  imports Ray

    try:
        executor = examined.open_executor()
    except ExportError as problem:
        return failed(problem, _ray_fix(examined, problem, version))
    return ok(f"{executor.description}; {free_room()}")


def _ray_fix(examined: Examination, problem: ExportError, version: str) -> str:
    other = _OTHER_RAY.search(str(problem))
    if other and other[1] != version:
        return f"pip install ray=={other[1]}"
    if other:
        return f"use Python {other[2]} here, as the cluster does"
    return problem.parts[1] or f"ray status --address {examined.cluster}, or --set run.address=HOST:PORT"


def check_machines(examined: Examination) -> Finding:
    """Every machine has this package and its versions, credentials for the same API, and the shared path."""
    from pipeline.stages.preflight import MachineReport, inspect_machines  # noqa: PLC0415  imports the SDK

    if not examined.cluster:
        return skipped("no cluster is named")
    if examined.path is None:
        return skipped("machines are asked what a configuration needs; give one")
    here, count = versions_here(), 0
    with closing(inspect_machines(examined.workspace, examined.open_executor())) as found:
        for machine, report in found:
            count += 1
            if not isinstance(report, MachineReport):
                return failed(report)
            if others := here.differences(report.versions or Versions("unknown", {})):
                told = ", ".join(f"{name} {there} ({own} here)" for name, own, there in others)
                names = " ".join(f"{name}=={own}" for name, own, _ in others if name != "Python" and own != "none")
                fix = f"on that machine: pip install {names}" if names else "install what it has here, too"
                return warning(f"{machine} has {told}: bytes may differ", fix)
    return ok(f"{count} machines agree: Python {here.python}, {len(here.packages)} packages, credentials, path")
