"""The format protocol, and the records that a format exchanges with the pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, Protocol, Self, runtime_checkable

import msgspec

from pipeline.formats.options import check_options
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Bytes of one output file: the whole file, or (with ``section``) one item of a manifest's section.

    ``path`` is relative to the root of the export, with ``/``. An item carries no separator.

    With ``original`` the bytes are those of the sample's original (``NumberedSample.original_path``), and ``data`` is
    empty: the format never sees them. ``as_jpeg`` decodes the image and encodes it as JPEG; it is only for whole files.
    """

    path: str
    data: bytes = b""
    section: str = ""
    original: bool = False
    as_jpeg: bool = False


class Loss(msgspec.Struct, frozen=True, gc=False):
    """An annotation that was not written (``skipped``) or was written changed (``lossy``).

    ``annotation_id`` is the source annotation's own id. ``""`` stands for the whole sample: it is left out with all its
    annotations (``skipped``), or it is written but not as its readers expect it (``lossy``).
    ``reason`` is one of :class:`pipeline.reasons.Reason`, or a code of the format's own.
    """

    annotation_id: str
    outcome: Literal["skipped", "lossy"]
    reason: str


class Section(msgspec.Struct, frozen=True, gc=False):
    """A run of items in a manifest: ``open``, the items joined by ``separator``, ``close``."""

    name: str
    open: bytes = b""
    separator: bytes = b""
    close: bytes = b""


class Manifest(msgspec.Struct, frozen=True, gc=False):
    """A file made of sections, in this order. A file whose bytes are known has one section and no items.

    ``transform`` (``package.module:function``) turns the joined bytes into those of the file, for files that cannot be
    joined from items. The function takes and returns an iterator of bytes, cut anywhere, holds a bounded amount of them
    and is pure. With ``optional`` the file is not written when it has no items.
    """

    path: str
    sections: tuple[Section, ...]
    transform: str = ""
    optional: bool = False


class Contents(msgspec.Struct, frozen=True, gc=False):
    """What a finished export holds, for :meth:`BaseFormat.how_to_read`.

    ``filled`` are the path and the section of each part of a manifest that has items.
    """

    catalog: Catalog
    filled: frozenset[tuple[str, str]]

    def has(self, path: str, section: str) -> bool:
        """Return whether a section of the manifest at ``path`` has any items."""
        return (path, section) in self.filled

    def splits_from(self, split: str) -> tuple[str, ...]:
        """Return the splits of the export, ``split`` before all others."""
        return tuple(sorted(self.catalog.splits, key=lambda name: name != split))


@runtime_checkable
class Format(Protocol):
    """What every format must have. Options are the fields of a frozen dataclass that has these members.

    :class:`BaseFormat` adds the members that have a default. Inherit from it, or write a class of your own:
    :func:`pipeline.formats.load_format` adds the defaults to it.
    """

    @property
    def name(self) -> str:
        """The name in the configuration, in the ledger and in reports."""

    @property
    def needs_payload(self) -> bool:
        """Whether ``record.payload`` and ``record.files`` must be staged (costs staging space)."""

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the bytes and the losses of one sample: a pure function, called once per sample, in any process.

        Every annotation of the sample is either in an entry or in a ``skipped`` loss. A sample that the format cannot
        hold gives one ``skipped`` loss with an empty annotation id, and one for each of its annotations.
        """

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files joined from all shards; they declare each ``(path, section)`` that ``render`` uses."""


class BaseFormat(ABC):
    """A format with a default for every member but ``name``, ``render`` and ``manifests``.

    A subclass is a frozen dataclass. Its options are its fields, and their annotations are checked when it is made:
    types, ``Literal`` choices, and the bounds of ``Annotated[int, msgspec.Meta(ge=1)]``.
    """

    def __post_init__(self) -> None:
        """Check the options. Raises OptionError for a value that its field's annotation does not allow."""
        check_options(self)

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in the configuration, in the ledger and in reports."""

    @property
    def needs_payload(self) -> bool:
        """Whether ``record.payload`` and ``record.files`` must be staged (costs staging space)."""
        return False

    @property
    def needs_originals(self) -> bool:
        """Whether the format holds the images, so that ``save_original_file: false`` is refused."""
        return False

    @property
    def reader_memory(self) -> float:
        """Bytes of memory that readers take for each byte of a manifest; 0 for readers that do not load whole files."""
        return 0.0

    @abstractmethod
    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the bytes and the losses of one sample, as :meth:`Format.render` describes."""

    @abstractmethod
    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files joined from all shards, as :meth:`Format.manifests` describes."""

    def in_own_folder(self) -> Self:
        """Return the format with a name and a folder of its own, for an export that already has one of its name.

        The default has no such folder: a second format of the same name is refused.
        """
        return self

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, with ``masks: instance``. The default declares nothing."""
        return {}

    def trees(self, masks: str) -> Mapping[str, Collection[str]]:
        """Return the trees of labels of the format: their names, and the shapes of annotations that each can hold.

        ``masks`` is the export's setting (:attr:`Catalog.masks`). A class lock keeps the numbers of the classes that
        :meth:`Catalog.classes_in` gives for the name and the shapes of a tree. The default has no trees: it uses
        ``Catalog.classes``.
        """
        del masks
        return {}

    def how_to_hold(self, shapes: Collection[str]) -> str:
        """Return what a user can do to have objects of these shapes written, which the format leaves out.

        It ends a warning: an object that is left out is background to a model. The default gives ``""``: no warning.
        """
        del shapes
        return ""

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return the line a user types to load the export at ``url``, for example its ``split``; ``""`` for none.

        A split has images, but the format may have none of them: ``contents`` says which files hold something. A format
        of yours may leave out this parameter. The line is asked for only when the format has written a sample.
        """
        del url, split, contents
        return ""
