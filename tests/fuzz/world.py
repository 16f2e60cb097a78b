"""A sandbox with a proxy before it, and one export of it, told in full: what it wrote, said and raised."""

import contextlib
import io
import logging
import re
import shutil
import signal
import threading
import traceback
import warnings
from dataclasses import dataclass, field
from functools import cached_property

import yaml

from exporting import settings, write_config
from pipeline import cli
from pipeline.config.loading import parse_config
from pipeline.errors import ConfigError, ExportError, VerificationError
from pipeline.model.backoff import Backoff
from pipeline.run import run
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.synapse.http import transport
from pipeline.synapse.http.tries import RequestLimits
from stores import environment_of
from tests.fuzz.proxy import Proxy

CANARY = "canary-7d1e0-of-the-store"
RECORDS = 8
_SHORT = RequestLimits(
    Backoff(3, first=0.005, longest=0.01, jitter=0.5, longest_retry_after=0.01), connect=2, idle=1, attempt=2,
    deadline=4,
    largest_body=2**24, slowest=10**8, unannounced=10**6,
)  # fmt: skip
_LONGEST_LINE = 2000


class CaseError(AssertionError):
    """A case that did neither what is right nor fail with one clear line."""


@contextlib.contextmanager
def impatient():
    """The package's waits, a hundredth as long."""
    before = transport.RequestLimits
    transport.RequestLimits = lambda: _SHORT
    try:
        yield
    finally:
        transport.RequestLimits = before


@dataclass
class Told:
    """How a run ended: the exit code, the error if it raised one, and all that was printed and logged."""

    code: int
    error: ExportError | None = None
    text: str = ""

    @property
    def is_complete(self):
        return self.code == 0


class _Listener:
    def __init__(self, lines):
        self._lines = lines

    def update(self, tally):
        pass

    def finish(self, tally):
        pass

    def close(self):
        pass

    def message(self, text):
        self._lines.write(f"{text}\n")


@contextlib.contextmanager
def recorded(lines):
    """Everything that is printed and logged meanwhile goes to ``lines``; warnings are errors."""
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines), warnings.catch_warnings():
            yield
    finally:
        root.removeHandler(handler)
        if threading.current_thread() is threading.main_thread():
            for number, action in kept.items():
                signal.signal(number, action)


def told_by_command(*arguments):
    """Run the command line in this process. Raises CaseError for a traceback or an exit code nobody documents."""
    lines = io.StringIO()
    with recorded(lines):
        code = cli.main([str(argument) for argument in arguments])
    text = lines.getvalue()
    if "Traceback" in text:
        raise CaseError(f"a traceback was printed:\n{text}")
    if code not in (0, 1, 2, 3, 4):
        raise CaseError(f"exit code {code}:\n{text}")
    if code and not re.search(r"^error: \S", text, re.MULTILINE):
        raise CaseError(f"exit code {code} without a line that says why:\n{text}")
    return Told(code, None, text)


def told_by_run(text):
    """Run a configuration in this process. Raises CaseError for anything but a result or a typed error of one line."""
    lines = io.StringIO()
    with recorded(lines):
        try:
            run(parse_config(text), listener=_Listener(lines))
        except ExportError as error:
            lines.write(str(error))
            check_line(error)
            return Told(error.exit_code, error, lines.getvalue())
        except Exception:  # noqa: BLE001  any other error is what is looked for
            raise CaseError(f"not one of our errors:\n{traceback.format_exc()}") from None
    return Told(0, None, lines.getvalue())


def check_line(error):
    """Raise CaseError for an error that is no clear line."""
    said = str(error)
    if not said or len(said) > _LONGEST_LINE:
        raise CaseError(f"{type(error).__name__} says too little or too much: {said[:3000]!r}")
    if "\n" in said and not isinstance(error, ConfigError | VerificationError):
        raise CaseError(f"{type(error).__name__} says more than one line: {said!r}")


@dataclass
class World:
    """A sandbox behind a proxy. ``options`` are the sandbox's; use it as a context manager."""

    options: dict
    target: str = "task"
    overrides: dict = field(default_factory=dict)

    def __enter__(self):
        self.sandbox = Sandbox(
            SandboxOptions(profile="tidy", records=RECORDS, image_size=(96, 72), **self.options)
        ).start()
        self.proxy = Proxy(self.sandbox.url).__enter__()
        return self

    def __exit__(self, *_):
        self.proxy.__exit__()
        self.sandbox.stop()

    @cached_property
    def truth(self):
        return self.sandbox.truth(self.target)

    @cached_property
    def keys(self):
        return [record.key for record in self.truth]

    def environment(self):
        return {"SYNAPSE_HOST": self.proxy.url, "SYNAPSE_ACCESS_TOKEN": self.sandbox.token, "FUZZ_SECRET": CANARY}

    def secrets(self):
        return [self.sandbox.token, "X-Sig=", CANARY]

    def values(self, path, **overrides):
        """Values of a configuration: records have names of their own, so that none depends on another."""
        values = {"target": self.target, "naming": "id", "formats": ["csv", "synapse_json", "coco"]}
        run_ = {"shard_size": 4, "page_size": 3, **overrides.pop("run", {})}
        return settings(self.sandbox, path, **{**values, **self.overrides, **overrides, "run": run_})

    def export(self, values, *, by_command, folder):
        """Run an export; returns :class:`Told`."""
        with environment_of(self.environment()), impatient():
            if by_command:
                return told_by_command("run", write_config(folder, values))
            return told_by_run(yaml.safe_dump(values, allow_unicode=True))


def fresh(folder):
    """An empty folder at a path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
