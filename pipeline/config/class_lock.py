"""The class lock: a file that fixes the number of each class, so that it is the same in every export of a project.

::

    {"version": 1, "classes": ["car", "bus"], "rename": {"van": "car"}, "drop": [],
     "skeletons": {"person": ["nose", "left_eye", …]}, "objects": {"person": ["person"]},
     "trees": {"yolo/detect": ["car", "bus"]}}

The position of a name is its id: that of a class, of a skeleton, of a point within its skeleton, of a class among the
objects of a skeleton, and of a class in a tree of labels. ``rename`` and ``drop`` are those that the ids were given
under, because they decide what a class means.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from pipeline.config.side_files import read_side_file, write_side_file
from pipeline.errors import UNREADABLE_JSON, ConfigError
from pipeline.model.catalog import Catalog
from pipeline.model.labels import ClassNames, class_names, normalise_label
from pipeline.model.trees import EVERY_TREE

if TYPE_CHECKING:
    from pipeline.config.export import ExportConfig

VERSION = 1
LOCK = "metadata/classes.lock.json"
"""Where every export has its own."""


class ClassLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names in the order of their ids, and the renames and drops that they were numbered under.

    ``skeletons`` are the points of each skeleton, ``objects`` the classes of its objects, and ``trees`` the classes of
    each tree of labels. A lock of an earlier version has neither of the last two.
    """

    version: int = VERSION
    classes: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    skeletons: dict[str, tuple[str, ...]] = {}
    objects: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET
    trees: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET

    @property
    def numbered_trees(self) -> Mapping[str, tuple[str, ...]]:
        """Return the classes of each tree whose ids are given. An earlier version gave every tree all classes."""
        if self.trees is not msgspec.UNSET:
            return self.trees
        return {EVERY_TREE: self.classes} if self.classes else {}

    @property
    def numbered_objects(self) -> Mapping[str, tuple[str, ...]]:
        """Return the classes of the objects of each skeleton whose ids are given."""
        return {} if self.objects is msgspec.UNSET else self.objects

    @property
    def names(self) -> ClassNames:
        """Return the renames and drops that the ids were given under."""
        return class_names(self.rename, self.drop)

    def extends(self, other: "ClassLock") -> bool:
        """Return whether every id of ``other`` is the same here."""
        return (
            _starts_with(self.classes, other.classes)
            and _starts_with(tuple(self.skeletons), tuple(other.skeletons))
            and _extend(self.skeletons, other.skeletons)
            and _extend(self.numbered_objects, other.numbered_objects)
            and (other.trees is msgspec.UNSET or _extend(self.numbered_trees, other.trees))
        )


def find_lock(config: "ExportConfig", folder: str) -> ClassLock | None:
    """Return the lock that ``config`` names, relative to ``folder``; None without one, or before it is made.

    Raises ConfigError for a file that is not a lock.
    """
    path = config.classes.lock
    data = read_side_file(config, path, folder) if path else None
    return decode_lock(data, path) if data is not None else None


def save_lock(config: "ExportConfig", folder: str, document: bytes, *, again: bool = False) -> str:
    """Write the lock of a published export if it changed, and return what to tell the user, or "".

    A lock that got other ids while the export ran is left alone. So is one that has all ids of this export, when this
    is done ``again`` for an export that was finished before.
    """
    made, old = decode_lock(document, "the lock of this export"), find_lock(config, folder)
    if old is not None:
        if old == made or (again and old.extends(made)):
            return ""
        if not made.extends(old):
            changed = not again and not old.extends(made)
            return f"{config.classes.lock} has changed meanwhile and was not updated" if changed else ""
    write_side_file(config, config.classes.lock, folder, document)
    return f"{config.classes.lock} holds the numbers of {len(made.classes)} classes"


def make_lock(catalog: Catalog) -> ClassLock:
    """Return the lock that gives another export the ids of this one."""
    return ClassLock(
        classes=catalog.classes,
        rename=catalog.names.rename,
        drop=catalog.names.drop,
        skeletons={skeleton.name: skeleton.points for skeleton in catalog.skeletons},
        objects={
            skeleton.name: catalog.classes_of_objects(number) for number, skeleton in enumerate(catalog.skeletons)
        },
        trees=catalog.trees,
    )


def lock_document(catalog: Catalog) -> bytes:
    """Return the lock file of a catalog."""
    return encode_lock(make_lock(catalog))


def encode_lock(lock: ClassLock) -> bytes:
    """Return the bytes of the file: JSON with one name a line, for people to read and compare."""
    return msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n"


def decode_lock(data: bytes, where: str) -> ClassLock:
    """Read a lock. Raises ConfigError, which names the file, for one that is damaged or of another version."""
    try:
        lock = msgspec.json.decode(data, type=ClassLock)
    except UNREADABLE_JSON as error:
        raise ConfigError(where, f"is not a class lock: {error}") from error
    if lock.version != VERSION:
        raise ConfigError(where, f"is a class lock of version {lock.version}, this program reads version {VERSION}")
    numbered = (lock.skeletons, lock.numbered_objects, lock.numbered_trees)
    for names in (lock.classes, *(names for lists in numbered for names in lists.values())):
        for name in names:
            if not name or name != normalise_label(name) or names.count(name) > 1:
                raise ConfigError(where, f"{name!r} is empty, named twice, or not trimmed and composed (NFC)")
    return lock


def check_drift(lock: ClassLock, config: "ExportConfig", configured: Sequence[str]) -> None:
    """Refuse, before work, what would change the meaning of a locked id.

    ``configured`` are the project's classes. Raises ConfigError, unless ``classes.drift`` is ``allow``.
    """
    if config.classes.drift == "allow":
        return
    wishes = class_names(config.classes.rename, config.classes.drop)
    problems = [
        *_changed_meanings(lock, wishes),
        *_changed_order(lock, wishes, config.classes.order),
        *_changed_skeletons(lock, config),
    ]
    if config.classes.drift == "error":
        named = [final for label in configured if (final := wishes.final(label)) is not None]
        problems += _new(named, lock.classes)
    if problems:
        raise ConfigError(config.classes.lock, f"classes would drift: {'; '.join(problems)}")


def check_new(lock: ClassLock, config: "ExportConfig", catalog: Catalog) -> list[str]:
    """Return warnings that name what has no id in the lock yet: classes and points, and old classes in a tree.

    A lock may have no skeletons, and not every tree. Raises ConfigError instead if ``classes.drift`` is ``error``.
    """
    problems = _new(catalog.classes, lock.classes)
    for skeleton in catalog.skeletons if lock.skeletons else ():
        problems += _new(skeleton.points, lock.skeletons.get(skeleton.name, ()), f"keypoints of {skeleton.name!r}")
    moved: list[str] = []
    for tree, names in catalog.trees.items():
        numbered = lock.numbered_trees.get(tree, lock.numbered_trees.get(EVERY_TREE))
        if numbered is not None:
            old = [name for name in names if name in lock.classes]
            moved += _new(old, numbered, f"classes of {tree}")
    for number, skeleton in enumerate(catalog.skeletons):
        if (numbered := lock.numbered_objects.get(skeleton.name)) is not None:
            moved += _new(catalog.classes_of_objects(number), numbered, f"classes of objects of {skeleton.name!r}")
    found = ["; ".join(part) for part in (problems, moved) if part]
    if found and config.classes.drift == "error":
        raise ConfigError(
            config.classes.lock,
            f"{'; '.join(found)}; nothing was published. Add them to the lock or use classes.drift: append, and "
            "start anew with on_existing: overwrite",
        )
    return [f"{text}; they come after those in {config.classes.lock}" for text in found]


def _changed_meanings(lock: ClassLock, wishes: ClassNames) -> Iterable[str]:
    """Return the locked classes that would get other labels than those the lock was made for."""
    before = lock.names
    labels = sorted({*lock.classes, *before.rename, *wishes.rename})
    for name in lock.classes:
        old = [label for label in labels if before.final(label) == name]
        new = [label for label in labels if wishes.final(label) == name]
        if old != new:
            yield f"{name!r} was {_listed(old)}, rename and drop make it {_listed(new)}"


def _changed_order(lock: ClassLock, wishes: ClassNames, order: Sequence[str]) -> Iterable[str]:
    named = [final for label in order if (final := wishes.final(normalise_label(label))) is not None]
    rank = {name: index for index, name in enumerate(dict.fromkeys((*lock.classes, *named)))}
    for first, second in pairwise(dict.fromkeys(named)):
        if rank[first] > rank[second]:
            yield f"order puts {first!r} before {second!r}, which is locked as number {rank[second]}"


def _changed_skeletons(lock: ClassLock, config: "ExportConfig") -> Iterable[str]:
    for name, points in lock.skeletons.items() if config.skeletons is not None else ():
        skeleton = config.skeletons.get(name) if config.skeletons else None
        if skeleton is None:
            yield f"skeleton {name!r} is locked, but not in skeletons"
        elif not _starts_with(skeleton.points, points):
            yield f"the points of skeleton {name!r} do not begin with the locked ones: {', '.join(points)}"


def _new(names: Iterable[str], locked: Sequence[str], what: str = "classes") -> list[str]:
    new = [name for name in dict.fromkeys(names) if name not in locked]
    return [f"{what} that are not locked: {', '.join(new)}"] if new else []


def _extend(lists: Mapping[str, tuple[str, ...]], others: Mapping[str, tuple[str, ...]]) -> bool:
    return all(_starts_with(lists.get(name, ()), names) for name, names in others.items())


def _starts_with(names: tuple[str, ...], first: tuple[str, ...]) -> bool:
    return names[: len(first)] == first


def _listed(labels: Sequence[str]) -> str:
    return " + ".join(map(repr, labels)) or "nothing"
