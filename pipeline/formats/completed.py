"""Formats that have only the required members, completed with the defaults for the others."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.formats.protocol import BaseFormat, Entry, Format, Loss, Manifest
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample


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
