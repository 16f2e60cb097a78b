"""Checks of this machine: packages, credentials, locale, terminal."""

import importlib
import locale
import sys

from pipeline.commands.doctor.examination import Examination
from pipeline.commands.doctor.report import Finding, error, failed, ok, warning
from pipeline.errors import CredentialsError, PreflightError
from pipeline.stages.versions import needed_packages

_SDK = "synapse-sdk"
_ELSEWHERE = frozenset({_SDK, "ray"})  # they have checks of their own
_NARROW = 60


def check_sdk(_: Examination) -> Finding:
    """The Synapse SDK is installed, in a version that this package accepts, and can be imported."""
    found = needed_packages().get(_SDK)
    fix = f"pip install '{_SDK}{found.accepted if found else ''}'"
    if found and not found.version:
        return error("the Synapse SDK is not installed", fix)
    if found and not found.fits:
        return error(f"the Synapse SDK is {found.version}, and {found.accepted} is needed", fix)
    try:
        importlib.import_module("synapse_sdk.utils.auth")
    except ImportError as problem:
        return error(f"the Synapse SDK cannot be imported: {problem}", fix)
    return ok(f"Synapse SDK {found.version} ({found.accepted})" if found else "the Synapse SDK can be imported")


def check_packages(_: Examination) -> Finding:
    """The other packages that this one needs are installed, in versions that it accepts."""
    needed = [package for name, package in needed_packages().items() if name not in _ELSEWHERE]
    wrong = [package for package in needed if not package.fits]
    if wrong:
        told = ", ".join(f"{one.name} {one.version or 'is missing'} ({one.accepted})" for one in wrong)
        wanted = " ".join(f"'{one.name}{one.accepted}'" for one in wrong)
        return error(f"packages that do not fit: {told}", f"pip install {wanted}")
    if not needed:
        return ok("the package itself is not installed, so nothing says which versions it accepts")
    return ok(f"{len(needed)} packages fit, Python {sys.version.split()[0]}")


def check_credentials(examined: Examination) -> Finding:
    """There is a token, and where it and the host come from."""
    from pipeline.synapse.credentials import find_credentials  # noqa: PLC0415  imports the SDK

    found = find_credentials()
    if not found.token:
        told = f"; {found.file} {found.problem}" if found.problem else ""
        return error(
            f"no access token in SYNAPSE_ACCESS_TOKEN, nor from 'synapse login' in {found.file}{told}", "synapse login"
        )
    try:
        _ = examined.client
    except CredentialsError as problem:
        return failed(problem, "synapse login")
    except PreflightError as problem:  # the address is wrong, which is the business of the check of the host
        return ok(f"token from {found.token}; {problem.args[0]} comes from {found.host}")
    if found.problem:
        return warning(f"the token is from {found.token}; {found.file} {found.problem}", "synapse login")
    if found.is_open_to_others:
        return warning(f"others of this machine can read {found.file}", f"chmod 600 {found.file}")
    return ok(f"token from {found.token}, host from {found.host}")


def check_locale(_: Examination) -> Finding:
    """Names of files and texts can have any letter."""
    files, texts = sys.getfilesystemencoding(), locale.getencoding()
    if files.lower() != "utf-8":
        return error(f"names of files are {files} here, and cannot hold every letter", "export PYTHONUTF8=1")
    if texts.lower() != "utf-8":
        return warning(
            f"the locale's encoding is {texts}: other programs may show names wrongly", "export LANG=C.UTF-8"
        )
    return ok(f"UTF-8, locale {locale.setlocale(locale.LC_CTYPE) or 'C'}")


def check_terminal(examined: Examination) -> Finding:
    """Output can show every letter, and whether tables and bars are drawn."""
    terminal = examined.terminal
    if terminal.encoding.lower().replace("-", "") != "utf8":
        told = f"output is {terminal.encoding}: letters that it lacks are shown as their code points"
        return warning(told, "export PYTHONIOENCODING=utf-8")
    if not terminal.is_terminal:
        return ok("not a terminal: lines instead of a bar, tab-separated lists")
    if terminal.kind == "dumb":
        return ok("a terminal without a cursor (TERM=dumb): lines instead of a bar")
    if terminal.width < _NARROW:
        return warning(f"{terminal.width} columns: tables are folded", "make the window wider, or use --json")
    return ok(f"{terminal.kind or 'a terminal'}, {terminal.width} columns")
