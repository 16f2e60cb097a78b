"""Pascal VOC's lists: the images of each split, the images that show a class, and the colours of the classes."""

from collections.abc import Iterator
from functools import lru_cache

from pipeline.formats.encoding import one_line
from pipeline.formats.voc.xml import replace_non_xml
from pipeline.images.palette import index_colour
from pipeline.model.naming import fold, safe_leaf
from pipeline.model.splits import find_split

TRAINVAL = "trainval"
"""VOC's list of train and val together; torchvision and Detectron2 know it by this name."""

BACKGROUND = "background"


def group_splits(splits: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the name of each list of images, and the splits in it, in this order.

    The lists of the three splits of training have the names that readers know, whatever the splits are called.
    """
    names = {find_split(splits, role): role for role in ("train", "val", "test")}
    found = {names.get(split, split): (split,) for split in splits}
    both = tuple(found[name][0] for name in ("train", "val") if name in found)
    return found | ({TRAINVAL: both} if both and TRAINVAL not in found else {})


@lru_cache(maxsize=8)
def name_class_lists(classes: tuple[str, ...], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the file names of each list's lists of classes: ``<class>_<list>.txt``.

    A class whose name is not a safe file name, or is the name of another list, has ``class<number>`` instead.
    """
    taken = {fold(name) for name in names}
    stems = [_choose_stem(number, label, names, taken) for number, label in enumerate(name_classes(classes), start=1)]
    return {name: tuple(f"{stem}_{name}.txt" for stem in stems) for name in names}


def _choose_stem(number: int, label: str, names: tuple[str, ...], taken: set[str]) -> str:
    """Return a stem whose files are not taken yet, and take them."""
    stem = next(stem for stem in _propose_stems(number, label) if not _leaves(stem, names) & taken)
    taken |= _leaves(stem, names)
    return stem


def _leaves(stem: str, names: tuple[str, ...]) -> set[str]:
    return {fold(f"{stem}_{name}") for name in names}


def _propose_stems(number: int, label: str) -> Iterator[str]:
    # Datumaro opens the file with the exact name of the class, so a name that must be changed is not used at all.
    if safe_leaf(f"{label}.txt") == f"{label}.txt":
        yield label
    stem = f"class{number}"
    while True:
        yield stem
        stem += "_"


@lru_cache(maxsize=8)
def name_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the classes as VOC's files have them: all different, and none that of the background.

    Datumaro splits the lines of ``labelmap.txt`` at colons and takes ``#`` for a comment. It refuses a dataset with a
    class whose list (``<class>_<split>.txt``) would be outside the folder, and drops objects of a class without a line.
    """
    taken = {BACKGROUND}
    names: list[str] = []
    for index, label in enumerate(classes, start=1):
        name = replace_non_xml(one_line(label)).replace(":", "_").strip()
        if ".." in name or name.startswith(("/", "\\")):
            name = name.replace("/", "_").replace("\\", "_")
        name = f"_{name}" if name.startswith("#") or not name else name
        while name in taken:
            name = f"{name}_{index}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def make_label_map(classes: tuple[str, ...]) -> bytes:
    """Return ``labelmap.txt`` as CVAT and Datumaro write it, a line ``name:r,g,b:parts:actions`` per index."""
    lines = ["# label:color_rgb:parts:actions"]
    for index, name in enumerate((BACKGROUND, *name_classes(classes))):
        lines.append(f"{name}:{','.join(map(str, index_colour(index)))}::")
    return ("\n".join(lines) + "\n").encode()
