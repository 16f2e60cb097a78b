"""The ``run`` command as the driver of a submitted job, whose output is read in a log and not on a terminal.

Launchers differ in what they pass: ``ray job submit`` passes arguments, ``synapse script submit`` passes none and only
variables that begin with ``SYNAPSE_`` or ``RAY_``. Not all of them tell that a job failed; the last line always does.
"""

import io
import os
import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from pipeline.cli import app as cli
from pipeline.errors import ConfigError
from pipeline.executors.ray_job import submitted_job
from pipeline.redaction import redact
from pipeline.version import __version__

CONFIG_VARIABLE = "SYNAPSE_EXPORT_CONFIG"
"""Names the configuration where a job cannot be given arguments."""

OPTIONS_VARIABLE = "SYNAPSE_EXPORT_OPTIONS"
"""Options of the ``run`` command where a job cannot be given arguments: ``--set run.workers=64``."""

CONFIG_NAME = "config.yaml"
"""The configuration beside the script, when neither arguments nor the variable name one."""

VERDICTS = {
    0: "complete",
    2: "refused before any work; nothing was exported",
    3: "too many failed records; nothing was published",
    4: "the filter matches no record; nothing was exported",
    5: "another run holds the path; nothing was changed",
    6: "there was nothing to do",
    130: "interrupted; submit it again to continue",
    143: "stopped; submit it again to continue",
}
FAILED = "failed; submit it again to continue"


def main(arguments: Sequence[str], folder: Path) -> int:
    """Run the export that ``arguments`` name (a configuration, then ``--set`` options); ``folder`` is the script's.

    Returns the exit code of :func:`pipeline.cli.app.main`. The last line that is printed begins with ``verdict:``.
    """
    with redirect_stdout(_Plain(sys.stdout)), redirect_stderr(_Plain(sys.stderr)):
        try:
            code = _run(arguments, folder)
        except SystemExit as stop:
            code = stop.code if stop.code and isinstance(stop.code, int) else 1
        except Exception:  # noqa: BLE001  a defect: shown in full, and before the verdict
            print(redact(traceback.format_exc()), file=sys.stderr)
            code = 1
        sys.stderr.flush()
        print(f"verdict: {VERDICTS.get(code, FAILED)} (exit code {code})", flush=True)
    return code


def _run(arguments: Sequence[str], folder: Path) -> int:
    try:
        config = find_config(arguments, folder)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    job = submitted_job() or "not submitted"
    print(f"job: {job}, synapse-export {__version__}, Python {platform.python_version()}, {config}", flush=True)
    options = [*shlex.split(os.environ.get(OPTIONS_VARIABLE, "")), *arguments[1:]]
    return cli.main(["run", config, *options])


def find_config(arguments: Sequence[str], folder: Path) -> str:
    """The configuration's path: the first argument, else the variable's, else the one beside the script.

    A relative path starts where the job runs, or else in the script's folder. Raises ConfigError when it is not there.
    """
    told = arguments[0] if arguments else os.environ.get(CONFIG_VARIABLE, "")
    for place in (Path(), folder):
        path = place / (told or CONFIG_NAME)
        if path.is_file():
            return str(path)
    if told:
        raise ConfigError(told, "no such file in the job's folder; only what is in the submitted folder is there")
    raise ConfigError(CONFIG_VARIABLE, f"name a configuration with it, or put {CONFIG_NAME} beside the script")


def plain(text: str) -> str:
    """Text that cannot be taken for rich's closing tags: the commands that follow a job's log die of one."""
    return text.replace("[/", "[ /")


class _Plain(io.TextIOBase):
    """A stream whose text is made :func:`plain` on its way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._open = False

    def write(self, text: str) -> int:
        """Write it with a space between ``[`` and ``/``, also when they come one by one."""
        if text:
            joined = " " if self._open and text.startswith("/") else ""
            self._stream.write(joined + plain(text))
            self._open = text.endswith("[")
        return len(text)

    def flush(self) -> None:
        """Write out what is held back."""
        self._stream.flush()

    def fileno(self) -> int:
        """The descriptor of the stream behind."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether a person is looking."""
        return self._stream.isatty()
