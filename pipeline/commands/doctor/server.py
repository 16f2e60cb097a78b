"""Checks of the API: that it is one, that it accepts the token, its clock, and what is exported from it."""

from pipeline.commands.doctor.examination import Examination
from pipeline.commands.doctor.report import Finding, error, failed, ok, skipped, warning
from pipeline.errors import ConfigError, CredentialsError, ExportError, TransientError

_HOST_FIX = "export SYNAPSE_HOST=https://api.synapse.sh"
_SLOW_CLOCK, _WRONG_CLOCK = 60.0, 900.0


def check_host(examined: Examination) -> Finding:
    """The host answers, and as the API does."""
    try:
        client = examined.client
    except ExportError as wrong:  # SYNAPSE_HOST is not a URL
        return failed(wrong, _HOST_FIX)
    problem = examined.refusal
    if isinstance(problem, TransientError):
        return failed(problem, f"{_HOST_FIX}, or see what answers: curl -sSI {client.origin}")
    # Whether it wants another token is the next check's business.
    if problem is None or isinstance(problem, CredentialsError) or "HTTP 403" in str(problem):
        return ok(f"{client.origin} answers as the API")
    if problem.args[0] == client.origin:
        return failed(problem, _HOST_FIX)
    return error(f"{client.origin} answers, but not as the API: {problem}", _HOST_FIX)


def check_token(examined: Examination) -> Finding:
    """The API accepts the token; of which tenant and whose it is, as far as the API says."""
    problem = examined.refusal
    if problem:
        return failed(problem, "synapse login" if isinstance(problem, CredentialsError) else "")
    return ok(f"accepted{_holder(examined)}")


def _holder(examined: Examination) -> str:
    from pipeline.synapse.credentials import find_credentials  # noqa: PLC0415  imports the SDK
    from pipeline.synapse.directory import Directory  # noqa: PLC0415  imports the SDK

    directory = Directory(examined.client)
    try:
        user = directory.user()
        tenants = [f"{row.get('name')} ({row.get('code')})" for row in directory.tenants().rows]
    except ExportError:
        return "; whose it is, this API does not tell"
    own = find_credentials().tenant
    every = ", ".join(tenants) or "that the API does not name"
    where = f"tenant {own or every}" if own or len(tenants) < 2 else f"one of the tenants {every}"
    return f": {user.get('name') or user.get('email') or 'a member'}, {where}"


def check_clock(examined: Examination) -> Finding:
    """The clock of this machine is right, because credentials end by it and stores compare it."""
    ahead = examined.client.clock_ahead
    if ahead is None:
        return skipped("the server does not tell its time")
    told = f"this machine's clock is {_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's"
    fix = "timedatectl set-ntp true"
    if abs(ahead) >= _WRONG_CLOCK:
        return error(f"{told}: object stores refuse requests, and credentials seem to have ended", fix)
    if abs(ahead) >= _SLOW_CLOCK:
        return warning(told, fix)
    return ok("within a minute of the server's")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"


def check_project(examined: Examination) -> Finding:
    """The project (or the ground truth version) of the configuration can be read."""
    config = examined.config
    try:
        project = examined.resolved.source.check()
    except ExportError as problem:
        lists = "versions DATASET" if config.target == "ground_truth" else "projects"
        hint = problem.parts[1] if isinstance(problem, ConfigError) else ""  # a name like that of another project
        return failed(problem, hint or examined.command(lists))
    if project.warning:
        return warning(f"{project.title}: {project.warning}", "name the classes in classes.order")
    return ok(f"{project.title}: {len(project.classes)} classes")
