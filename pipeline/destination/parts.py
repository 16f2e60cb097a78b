"""The parts of manifests that a shard contributes: items by manifest and section, packed into one staged file."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from pipeline.staging.area import Staging
from pipeline.staging.markers import Part
from pipeline.storage import Extent, Piece

type SectionKey = tuple[str, str]
"""The path of a manifest, and the name of its section."""


class ManifestParts:
    """Collects the items of a shard.

    An item is its bytes, or an :class:`Extent` of a file that is there already: an original of the export, or items
    that were spilled. Those bytes stay where they are until the merge. ``separators`` are those of all sections.
    ``most`` bounds the bytes that are held: with more, the items are spilled to ``staging``. A dry run has no
    ``staging`` and holds all of them. ``held`` are the bytes that are held, ``size`` those of all items.
    """

    def __init__(self, separators: Mapping[SectionKey, bytes], staging: Staging | None, index: int, most: int) -> None:
        self._separators = separators
        self._staging = staging
        self._index = index
        self._most = most
        self._items: defaultdict[SectionKey, list[Piece]] = defaultdict(list)
        self._spills = 0
        self.held = self.size = 0

    def separator(self, path: str, section: str) -> bytes | None:
        """Return the separator of the items of a section, or None when no manifest has the section."""
        return self._separators.get((path, section))

    def add(self, path: str, section: str, item: Piece) -> None:
        """Add an item to a section of the manifest at ``path``."""
        self._items[path, section].append(item)
        if isinstance(item, bytes):
            self.held += len(item)
            self.size += len(item)
        else:
            self.size += item.length
        if self.held > self._most and self._staging:
            self._spill(self._staging)

    def pack(self) -> tuple[tuple[Part, ...], Iterator[bytes]]:
        """Return where each part will be (in the pack, or in which file), and the bytes of the pack.

        The separator of its section stands before each part in the pack, outside the part's extent, so that a store
        can copy both at once.
        """
        parts: list[Part] = []
        joined: list[bytes] = []
        start = 0
        for (path, section), items in sorted(self._items.items()):
            separator = self._separators.get((path, section), b"")
            run: list[bytes] = []
            for item in (*items, None):
                if isinstance(item, bytes):
                    run.append(item)
                    continue
                if run:
                    joined.append(separator + separator.join(run))
                    length = len(joined[-1])
                    parts.append(Part(path, section, Extent("", start + len(separator), length - len(separator))))
                    start += length
                    run = []
                if item:
                    parts.append(Part(path, section, item))
        return tuple(parts), iter(joined)

    def _spill(self, staging: Staging) -> None:
        """Spill the held items to staging, because those of a whole shard may not fit in memory."""
        parts, chunks = self.pack()
        self._spills += 1
        path = staging.write_spill(self._index, self._spills, b"".join(chunks))
        self._items.clear()
        for part in parts:
            extent = part.extent if part.extent.path else Extent(path, part.extent.start, part.extent.length)
            self._items[part.path, part.section].append(extent)
        self.held = 0


def piece_length(piece: Piece) -> int:
    """Return the bytes of an item."""
    return piece.length if isinstance(piece, Extent) else len(piece)
