"""Pascal VOC's lists: which images are in which split, which show a class, and what the classes' colours are."""

from collections.abc import Iterator
from functools import lru_cache

from pipeline.formats.encoding import one_line
from pipeline.formats.voc.planes import index_colour
from pipeline.formats.voc.xml import replace_non_xml
from pipeline.model.naming import fold, safe_leaf

TRAINVAL = "trainval"
"""VOC's list of train and val together: torchvision and Detectron2 know it by this name."""

BACKGROUND = "background"


def group_splits(splits: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The name of each list of images, and the splits that are in it, in this order."""
    found = {split: (split,) for split in splits}
    both = tuple(split for split in ("train", "val") if split in found)
    return found | ({TRAINVAL: both} if both and TRAINVAL not in found else {})


@lru_cache(maxsize=8)
def name_class_lists(classes: tuple[str, ...], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """For each list of images the leaves of the lists of its classes: ``<class>_<list>.txt``.

    A class whose name is no safe file name, or would be the name of another list, has ``class<number>`` instead.
    """
    taken = {fold(name) for name in names}
    stems = [_choose_stem(number, label, names, taken) for number, label in enumerate(name_classes(classes), start=1)]
    return {name: tuple(f"{stem}_{name}.txt" for stem in stems) for name in names}


def _choose_stem(number: int, label: str, names: tuple[str, ...], taken: set[str]) -> str:
    """A stem whose files are not taken yet; they are then."""
    stem = next(stem for stem in _propose_stems(number, label) if not _leaves(stem, names) & taken)
    taken |= _leaves(stem, names)
    return stem


def _leaves(stem: str, names: tuple[str, ...]) -> set[str]:
    return {fold(f"{stem}_{name}") for name in names}


def _propose_stems(number: int, label: str) -> Iterator[str]:
    # Datumaro opens the file of the very name, so it is that name or none that could be taken for it.
    if safe_leaf(f"{label}.txt") == f"{label}.txt":
        yield label
    stem = f"class{number}"
    while True:
        yield stem
        stem += "_"


@lru_cache(maxsize=8)
def name_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes wherever VOC has them: no two alike, none of them the background's.

    Datumaro cuts the lines of ``labelmap.txt`` at colons and takes ``#`` for a comment, refuses a dataset with a class
    whose list (``<class>_<split>.txt``) would be outside the folder, and drops objects of a class that has no line.
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
    """``labelmap.txt`` as CVAT and Datumaro write it, a line ``name:r,g,b:parts:actions`` per index."""
    lines = ["# label:color_rgb:parts:actions"]
    for index, name in enumerate((BACKGROUND, *name_classes(classes))):
        lines.append(f"{name}:{','.join(map(str, index_colour(index)))}::")
    return ("\n".join(lines) + "\n").encode()
