"""Formats that are not ours: completed with the members that they lack, and guarded.

Whatever such a format does, an error names it and says what to change.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.errors import ConfigError, ExportError, FormatError
from pipeline.formats.protocol import BaseFormat, Contents, Entry, Format, Loss, Manifest, Section
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

# Structs do not check their fields when they are made.
_FIELDS: Mapping[type, Mapping[str, type]] = {
    Entry: {"path": str, "data": bytes, "section": str},
    Loss: {"annotation_id": str, "outcome": str, "reason": str},
    Manifest: {"path": str, "transform": str},
    Section: {"name": str, "open": bytes, "separator": bytes, "close": bytes},
}
_OUTCOMES = ("skipped", "lossy")


@dataclass(frozen=True)
class CompletedFormat(BaseFormat):
    """A format that is not a :class:`BaseFormat`, with the defaults of one for the members that it does not have."""

    format: Format

    def __post_init__(self) -> None:
        """Leave the options to the format itself."""

    @property
    def name(self) -> str:
        """The format's own name."""
        return self.format.name

    @property
    def needs_payload(self) -> bool:
        """The format's own answer."""
        return self.format.needs_payload

    @property
    def needs_originals(self) -> bool:
        """The format's own answer, if it has one."""
        return bool(getattr(self.format, "needs_originals", False))

    @property
    def reader_memory(self) -> float:
        """The format's own number, if it has one."""
        return float(getattr(self.format, "reader_memory", 0.0))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the bytes and the losses of one sample."""
        return self.format.render(sample, catalog)

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files joined from all shards."""
        return self.format.manifests(catalog)


@dataclass(frozen=True)
class GuardedFormat(BaseFormat):
    """A format of the user's or of another package, with every answer checked."""

    format: BaseFormat

    def __post_init__(self) -> None:
        """Leave the options to the format itself. Raises ConfigError for a name that is no text."""
        if not isinstance(self.format.name, str) or not self.format.name:
            raise ConfigError("formats", f"the name of {self.format} must be text, not {self.format.name!r}")

    @property
    def name(self) -> str:
        """The format's own name."""
        return self.format.name

    @property
    def needs_payload(self) -> bool:
        """The format's own answer."""
        with _answering(self.name, "needs_payload"):
            return self.format.needs_payload

    @property
    def needs_originals(self) -> bool:
        """The format's own answer."""
        with _answering(self.name, "needs_originals"):
            return self.format.needs_originals

    @property
    def reader_memory(self) -> float:
        """The format's own number."""
        with _answering(self.name, "reader_memory"):
            return self.format.reader_memory

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the bytes and the losses of one sample. Raises FormatError for anything else."""
        with never_ending(self.name, "render"):
            results = self._listed("render", self.format.render(sample, catalog))
        for result in results:
            self._check("render", result, (Entry, Loss))
            if isinstance(result, Loss) and result.outcome not in _OUTCOMES:
                raise self._error("render", f"a Loss whose outcome is {result.outcome!r}", " or ".join(_OUTCOMES))
        return results

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files joined from all shards. Raises FormatError for anything else."""
        with _answering(self.name, "manifests"):
            found = self._listed("manifests", self.format.manifests(catalog))
        for manifest in found:
            self._check("manifests", manifest, (Manifest,))
            sections = self._listed("manifests", manifest.sections)
            for section in sections:
                self._check("manifests", section, (Section,))
            if len({section.name for section in sections}) < len(sections):
                raise FormatError(self.name, f"manifests gives {manifest.path} two sections of one name; rename one")
        return found

    def in_own_folder(self) -> Self:
        """Return the format with a name and a folder of its own, if it has that."""
        with _answering(self.name, "in_own_folder"):
            return type(self)(self.format.in_own_folder())

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, as the format says."""
        with _answering(self.name, "support"):
            return self.format.support()

    def trees(self, masks: str) -> Mapping[str, Collection[str]]:
        """Return the format's own trees."""
        with _answering(self.name, "trees"):
            return self.format.trees(masks)

    def how_to_hold(self, shapes: Collection[str]) -> str:
        """Return the format's own answer."""
        with _answering(self.name, "how_to_hold"):
            return self.format.how_to_hold(shapes)

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return the format's own line, or why there is none: an export does not fail for want of it.

        The format's method may have been written before there was ``contents``, and then takes ``url`` and ``split``.
        """
        try:
            with _answering(self.name, "how_to_read"):
                own: Callable[..., object] = self.format.how_to_read
                line = own(url, split, contents) if _takes(own, 3) else own(url, split)
        except ExportError as error:
            return str(error)
        return line if isinstance(line, str) else f"{self.name}: how_to_read gives no text"

    def _listed(self, where: str, results: Any) -> list[Any]:
        if isinstance(results, str | bytes) or not isinstance(results, Iterable):
            raise self._error(where, f"a {type(results).__name__}", "a list")
        return list(results)

    def _check(self, where: str, value: Any, kinds: tuple[type, ...]) -> None:
        kind = next((kind for kind in kinds if isinstance(value, kind)), None)
        if kind is None:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise self._error(where, f"a {type(value).__name__}", f"an object of the class {wanted}")
        for field, wanted_type in _FIELDS[kind].items():
            found = getattr(value, field)
            if not isinstance(found, wanted_type):
                what = f"{kind.__name__} whose {field} is of the class {type(found).__name__}"
                raise self._error(where, what, wanted_type.__name__)

    def _error(self, where: str, found: str, wanted: str) -> FormatError:
        return FormatError(self.name, f"{where} gives {found}; it must be {wanted}")


def _takes(function: Callable[..., object], number: int) -> bool:
    """Whether a function can be called with so many arguments by their position."""
    try:
        inspect.signature(function).bind(*range(number))
    except TypeError:
        return False
    return True


def find_beside(folder: str) -> None:
    """Let modules in ``folder`` be found, after all others; nothing happens for ``""``."""
    if folder and folder not in sys.path:
        sys.path.append(folder)


@contextlib.contextmanager
def _answering(name: str, where: str) -> Iterator[None]:
    """Raise FormatError where code of a format raises what is not an error of this package, or ends the process."""
    try:
        with never_ending(name, where):
            yield
    except ExportError:
        raise
    except Exception as error:
        raise FormatError(name, f"{where} raises {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def never_ending(name: str, where: str) -> Iterator[None]:
    """Raise FormatError where code of a format ends the process as if all were well.

    Other codes pass, because a signal to the process arrives in the same way.
    """
    try:
        yield
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise
        raise FormatError(name, f"ends the process in {where}; raise an error there instead of sys.exit") from None
