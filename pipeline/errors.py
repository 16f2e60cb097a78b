"""Every error that this package raises on purpose.

::

    ExportError                     every error of this package
    ├── ConfigError                 the configuration is wrong: nothing was started          exit 2
    ├── PreflightError              a check before work failed: nothing was written          exit 2
    │   ├── EmptySelectionError     the filter matches no record                             exit 4
    │   ├── CredentialsError        no token, or the server refuses it
    │   └── DestinationError        the destination cannot be written, or holds something else
    │       ├── DamagedExportError  its verdict or its list of files is damaged
    │       └── PathHeldError       another run holds it                                 exit 5
    ├── TransientError              may go away by itself; the only error that is retried    exit 1
    │   ├── ResponseTooLarge        an answer over the byte limit: ask for fewer rows
    │   └── UrlExpired              a presigned URL has run out: ask for a new one
    ├── BackendError                the API gave a final answer that ends the run            exit 1
    │   ├── RefusedHost             a file is at a host from which files are not fetched
    │   └── AccessRefused           the API refuses the token, or what is asked with it
    ├── StorageError                the destination failed while work was going on           exit 1
    ├── StagingError                staged data is missing or damaged                        exit 1
    ├── FormatError                 a format broke its contract                              exit 1
    ├── LedgerError                 the books do not balance                                 exit 1
    ├── VerificationError           a finished export is incomplete or damaged              exit 1
    ├── DuplicatesError             copies of an original are in several splits               exit 1
    └── FailureLimitError           more records failed than ``max_failures`` allows         exit 3

A command that finds nothing to do ends with 0, or with ``NOTHING_TO_DO`` where that is asked for: it is no error.

Each one survives pickling, because workers raise them and the driver reads them: the arguments are
plain values, kept in ``args``, and the sentence is made by ``__str__``.
"""

import difflib
import re
from collections.abc import Iterable

import msgspec

from pipeline.redaction import redact

UNREADABLE_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON it is asked for. A text that is not UTF-8 is no MsgspecError."""

NOTHING_TO_DO = 6
"""The exit code of a command with ``--fail-if-nothing`` that found nothing to do."""


_NEAREST = 0.6


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the known word which is most like ``word``, or ``""`` when none is."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAREST)
    return f"; did you mean {near[0]!r}?" if near else ""


class ExportError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 1

    @property
    def code(self) -> str:
        """What kind it is, for programs: ``credentials_error`` for a CredentialsError."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def parts(self) -> tuple[str, str]:
        """What is wrong, and what to do about it, ``""`` where the sentence does not say it.

        The sentences of all errors are written so: what to do stands after the first semicolon of a single line.
        """
        problem, _, hint = str(self).partition("; ")
        return (str(self), "") if "\n" in str(self) else (problem, hint)

    def __str__(self) -> str:
        return redact(": ".join(str(part) for part in self.args if part not in (None, "")))


class ConfigError(ExportError):
    """The configuration is wrong. Arguments: where (file, line, key path) and what to change."""

    exit_code = 2


class PreflightError(ExportError):
    """A check made before any work failed; nothing was written."""

    exit_code = 2


class EmptySelectionError(PreflightError):
    """The filter matches no record, and ``allow_empty`` does not say that this may be."""

    exit_code = 4


class CredentialsError(PreflightError):
    """There is no access token, or the server does not accept it."""


class DestinationError(PreflightError):
    """The destination cannot be written, or already holds something this run must not touch."""


class DamagedExportError(DestinationError):
    """What says that an export is finished, or which files it has, is damaged where it is kept."""


class PathHeldError(DestinationError):
    """Another run holds the path, and may still be at work there."""

    exit_code = 5


class TransientError(ExportError):
    """Something that may succeed when tried again: the only error executors retry."""


class ResponseTooLarge(TransientError):
    """An answer grew past the byte limit; the same rows may fit when asked for in smaller pages."""


class UrlExpired(TransientError):
    """A presigned URL is no longer valid; listing its row again gives a new one."""


class BackendError(ExportError):
    """The API gave an answer that retrying will not change."""


class RefusedHost(BackendError):
    """A file is at a host from which files are not fetched unless ``run.file_hosts`` names it.

    For its record this is transient: the same export, run again with the host named, tries it again.
    """


class AccessRefused(BackendError):
    """The API no longer accepts the token, or refuses what is asked with it; the run ends."""


class StorageError(ExportError):
    """The destination failed during the work; the run can be resumed."""


class StagingError(ExportError):
    """Staged data is missing, truncated or does not match its digest."""


class FormatError(ExportError):
    """A format broke its contract: undeclared section, repeated path, unknown option."""


class LedgerError(ExportError):
    """``seen = written + skipped + failed`` does not hold: a defect, never bad data."""


class VerificationError(ExportError):
    """A finished export is incomplete or damaged. Arguments: what is wrong, one line each."""


class DuplicatesError(ExportError):
    """Originals with the same bytes are in several splits, and ``duplicates`` does not allow it: not published."""


class FailureLimitError(ExportError):
    """More records failed than ``max_failures`` allows; nothing was published."""

    exit_code = 3
