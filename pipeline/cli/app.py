"""The command line: ``python -m pipeline`` and ``synapse-export``. Thin: every command calls one function."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from pipeline.cli import report
from pipeline.commands.clean import clean
from pipeline.commands.retry_failed import retry_failed
from pipeline.commands.verify import verify
from pipeline.config.export import ExportConfig, load_config, read_value
from pipeline.errors import ConfigError, ExportError
from pipeline.formats import load_format
from pipeline.progress import Bar, Lines, Listener, printable
from pipeline.run import run
from pipeline.stages.workspace import Settings, Workspace
from pipeline.storage import Storage, open_storage
from pipeline.version import __version__

_TARGET = (
    "a folder or URL that holds an export, or the configuration it was made with (for its storage and credentials)"
)
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    0 complete, 1 failed (run again to continue), 2 configuration or a check before work, 3 more failed records than
    ``max_failures``, 130 or 143 interrupted (run again to continue).
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    for number in _SIGNALS:
        signal.signal(number, _interrupted)
    try:
        return int(options.command(options))
    except ExportError as error:
        if (code := _stopped_before(error)) is not None:
            return code  # what then failed on the way out is not the reason
        print(printable(f"error: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _SIGNALS[signal.SIGINT]


def _stopped_before(error: BaseException | None) -> int | None:
    """The exit code of the signal that was being handled when the error came, or None when there was none."""
    while error is not None:
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code
        error = error.__context__
    return None


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    print("interrupted; run the same command again to continue", file=sys.stderr)
    raise SystemExit(_SIGNALS[signal.Signals(number)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="synapse-export", description="Export Synapse annotation data as datasets that train models without a fix."
    )
    parser.add_argument("--version", action="version", version=f"synapse-export {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    for name, command, text in (
        ("run", _run, "export what a configuration describes; run it again to continue after a crash"),
        ("plan", _plan, "show what would be exported, how, and what would be lost; writes nothing"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("config", help="a YAML file")
        _add_overrides(sub)
        sub.set_defaults(command=command)
        if name == "run":
            _add_break_lock(sub)

    text = (
        "try the failed records of a finished export again, only them, and patch the dataset to what a run without "
        "these failures would have written"
    )
    sub = commands.add_parser("retry-failed", help=text, description=text)
    sub.add_argument("config", help="the YAML file the export was made with")
    _add_overrides(sub)
    sub.set_defaults(command=_retry_failed)
    _add_break_lock(sub)

    sub = commands.add_parser("verify", help="prove that a finished export is complete and undamaged")
    sub.add_argument("path", help=_TARGET)
    sub.add_argument("--full", action="store_true", help="read every file and compare its sha256, not only its size")
    sub.set_defaults(command=_verify)

    text = "remove what dead runs left: staged work, unfinished uploads, and the files of an unfinished export"
    sub = commands.add_parser("clean", help=text, description=text)
    sub.add_argument("path", help=_TARGET)
    _add_break_lock(sub)
    sub.set_defaults(command=_clean)

    sub = commands.add_parser(
        "formats", help="list the formats and their options, or what one does with each annotation"
    )
    sub.add_argument("format", nargs="?", help="a format's name, or package.module:Class")
    sub.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="options of the format: task=segment")
    sub.set_defaults(command=_formats)

    sub = commands.add_parser("sandbox", help="serve a local Synapse API with made-up data, for trying things out")
    from pipeline import sandbox  # noqa: PLC0415  the server's imports only cost when it is asked for

    sandbox.add_arguments(sub)
    sub.set_defaults(command=sandbox.main)
    return parser


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a key: run.workers=4",
    )


def _add_break_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--break-lock",
        action="store_true",
        help="the run that holds the path is not at work any more (its machine was lost, say)",
    )


def _open(target: str) -> Storage:
    """The storage at a path or URL, or the one that a configuration names, with its options and credentials."""
    if target.endswith((".yaml", ".yml")):
        return Workspace(Settings(load_config(target).model_dump(mode="json"))).storage
    return open_storage(target)


def _load(options: argparse.Namespace) -> tuple[ExportConfig, str]:
    return load_config(options.config, options.overrides), str(Path(options.config).resolve().parent)


def _run(options: argparse.Namespace) -> int:
    config, folder = _load(options)
    result = run(config, listener=_listener(), search_path=folder, break_lock=options.break_lock)
    report.print_result(result, config, Console(soft_wrap=True, highlight=False), options.config)
    return 0


def _retry_failed(options: argparse.Namespace) -> int:
    config, folder = _load(options)
    result = retry_failed(config, listener=_listener(), search_path=folder, break_lock=options.break_lock)
    report.print_result(result, config, Console(soft_wrap=True, highlight=False), options.config)
    return 0


def _plan(options: argparse.Namespace) -> int:
    config, folder = _load(options)
    report.print_forecast(config, folder, Console(soft_wrap=True, highlight=False))
    return 0


def _formats(options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False)
    if not options.format:
        report.print_formats(console)
        return 0
    chosen = {}
    for option in options.options:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(option, "write options as name=value")
        chosen[name] = read_value(value, option)
    report.print_support(load_format(options.format, chosen), console)
    return 0


def _verify(options: argparse.Namespace) -> int:
    success = verify(_open(options.path), full=options.full)
    checked = "by sha256" if options.full else "by size"
    print(f"complete: {success.files:,} files checked {checked}, run {success.run_id}, content {success.content[:16]}")
    return 0


def _clean(options: argparse.Namespace) -> int:
    storage = _open(options.path)
    done = clean(storage, break_lock=options.break_lock)
    parts = [f"{done.files:,} files of an unfinished export"] if done.files else []
    parts += ["staged work"] if done.staging else []
    parts += [f"{done.uploads} unfinished uploads"] if done.uploads else []
    print(printable(f"{storage.url}: {'removed ' + ', '.join(parts) if parts else 'nothing to remove'}"))
    return 0


def _listener() -> Listener:
    console = Console()
    return Bar(console) if console.is_terminal else Lines(lambda line: print(printable(line), flush=True))
