"""The command line: ``synapse-export`` and ``python -m pipeline``.

Each command is a module of its own and imports what it needs when it runs, so that ``--help`` costs nothing.
"""

import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from pipeline.cli import clean, formats, plan, retry_failed, run, sandbox, verify
from pipeline.cli.about import completion, skill
from pipeline.cli.conversation import command as new
from pipeline.cli.conversation.entry import can_ask
from pipeline.cli.discovery import doctor, lists
from pipeline.cli.look import diff, preview, report
from pipeline.cli.options import Voice
from pipeline.cli.status import command as status
from pipeline.errors import ConfigError, ExportError, did_you_mean
from pipeline.redaction import redact
from pipeline.version import __version__

PROGRAM = "synapse-export"
_USAGE = 2
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}

app = typer.Typer(
    help="Export Synapse annotation data as datasets that train models without a fix.",
    add_completion=False,  # it would install itself into the user's shell
    rich_markup_mode=None,  # plain help, for logs and pipes too
    pretty_exceptions_enable=False,
)
app.command("new", epilog="For example: synapse-export new --target task")(new.command)
app.command("run", epilog="For example: synapse-export run my.yaml --set run.workers=4")(run.command)
app.command("plan", epilog="For example: synapse-export plan my.yaml")(plan.command)
app.command("retry-failed", epilog="For example: synapse-export retry-failed my.yaml")(retry_failed.command)
app.command("status", epilog="For example: synapse-export status my.yaml --watch")(status.command)
app.command("verify", epilog="For example: synapse-export verify ./exports/dashcam --full")(verify.command)
app.command("diff", epilog="For example: synapse-export diff ./exports/before ./exports/after --limit 20")(diff.command)
app.command("preview", epilog="For example: synapse-export preview my.yaml --images 24 -o sheet.png")(preview.command)
app.command("report", epilog="For example: synapse-export report ./exports/dashcam --language ko")(report.command)
app.command("clean", epilog="For example: synapse-export clean my.yaml")(clean.command)
app.command("formats", epilog="For example: synapse-export formats yolo task=segment")(formats.command)
app.command("doctor", epilog="For example: synapse-export doctor my.yaml")(doctor.command)
app.command("projects", epilog="For example: synapse-export projects dashcam")(lists.projects)
app.command("ground-truths", epilog="For example: synapse-export ground-truths 12")(lists.ground_truths)
app.command("versions", epilog="For example: synapse-export versions 209")(lists.versions)
app.command("storages", epilog="For example: synapse-export storages --json")(lists.storages)
app.command("tags", epilog="For example: synapse-export tags 12")(lists.tags)
app.command("classes", epilog="For example: synapse-export classes --config my.yaml")(lists.classes)
app.command("completion", epilog="For example: synapse-export completion bash")(completion.command)
app.command("skill", epilog="For example: synapse-export skill")(skill.command)
app.command("sandbox", context_settings=sandbox.PASS_ALL, add_help_option=False)(sandbox.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="show no progress: results and errors only")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="also what the log notes for whoever looks for a fault")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="no colours; NO_COLOR does the same")] = False,
) -> None:
    """Export Synapse annotation data as datasets that train models without a fix."""
    Voice.quiet = quiet
    if verbose:
        logging.getLogger("pipeline").setLevel(logging.INFO)
    if no_color:
        os.environ["NO_COLOR"] = "1"
        os.environ.pop("FORCE_COLOR", None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 complete, 1 failed (run again to continue), 2 wrong usage, configuration or a check before work, 3 more failed
    records than ``max_failures``, 4 a filter that matches no record, 5 another run holds the path, 6 nothing to do
    where ``--fail-if-nothing`` asks for it, 130 or 143 interrupted (run again to continue).
    """
    handler = _ErrorOutput()
    handler.setFormatter(_Redacted("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for number in _SIGNALS:
        signal.signal(number, _interrupted)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments and can_ask():
        arguments = ["new"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a name shows its code points
            stream.reconfigure(errors="backslashreplace")
    if completion.VARIABLE in os.environ:  # a shell asks
        from typer.completion import completion_init  # type: ignore[attr-defined]  # used there, not exported

        completion_init()
    report = _report_json if {"--json", "--json-progress"} & set(arguments) else _report
    try:
        code = app(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except ExportError as error:
        if (stopped := _stopped_before(error)) is not None:
            return stopped  # an error on the way out is not the reason
        return report(error, error.exit_code)
    except typer.TyperException as error:
        wrong = UsageError(f"{error.format_message().removesuffix('.')}{_near(error)}; see {PROGRAM} --help")
        return report(wrong, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _SIGNALS[signal.SIGINT]
    except SystemExit as stop:
        if stop.code in _SIGNALS.values() or completion.VARIABLE in os.environ:
            raise
        if isinstance(stop.__context__, BrokenPipeError):  # whoever reads the output has enough of it, as head has
            return 1
        # Nothing here ends in this way, so it was a format, or a library: no verdict was reached.
        told = f"sys.exit({stop.code!r}) was called by a format or a library; raise an error there instead"
        return report(Defect(told), 1)
    except Exception as error:  # noqa: BLE001  a defect, shown in full
        print(redact(traceback.format_exc()), file=sys.stderr, end="")
        if report is _report_json:
            report(Defect(f"{type(error).__name__}; please report it with the traceback"), 1)
        return 1
    if not arguments:
        return _USAGE
    return code if isinstance(code, int) else 0


class UsageError(ConfigError):
    """The command line is wrong."""


class Defect(ExportError):
    """An error of the program, or of a format, that nobody foresaw."""


class _ErrorOutput(logging.Handler):
    """Prints beside the errors as that is now: while a screen is drawn there, above it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _Redacted(logging.Formatter):
    """Formats a line of any library's log without the secrets of the URLs in it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _near(error: typer.TyperException) -> str:
    """The command that a wrong one is most like, if any. Options are suggested by typer itself."""
    wrong = re.match(r"No such command '(.*)'", error.format_message())
    return did_you_mean(wrong[1], (str(command.name) for command in app.registered_commands)) if wrong else ""


def _report_json(error: ExportError, code: int) -> int:
    """The error as a JSON object on the last line of standard error (docs/json.md)."""
    from pipeline.cli.console import json_text

    message, hint = error.parts
    told = {"error": {"code": error.code, "message": message, "hint": hint}}
    print(json_text(told, sys.stderr), file=sys.stderr)
    return code


def _report(error: ExportError, code: int) -> int:
    from pipeline.progress import printable

    print(printable(f"error: {error}"), file=sys.stderr)
    return code


def _stopped_before(error: BaseException | None) -> int | None:
    """The exit code of the signal that was being handled when the error came, or None when there was none."""
    while error is not None:
        if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code in _SIGNALS.values():
            return error.code
        error = error.__context__
    return None


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    print("interrupted; run the same command again to continue", file=sys.stderr)
    raise SystemExit(_SIGNALS[signal.Signals(number)])
