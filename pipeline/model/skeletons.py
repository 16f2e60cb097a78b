"""Skeletons: which keypoints make up an object, and how they are derived where the user does not say."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

PERSON = "person"
REST = "keypoints"
"""The skeleton of all keypoints that belong to no other."""

# COCO's person (cocodataset.org, "Keypoint Detection"); the Synapse SDK has the same names, lines (from 1) and flip.
PERSON_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
PERSON_EDGES = (
    ("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee"), ("right_knee", "right_hip"),
    ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"), ("left_eye", "right_eye"), ("nose", "left_eye"),
    ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"), ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)  # fmt: skip
PERSON_FLIP = tuple((left, left.replace("left", "right")) for left in PERSON_POINTS if left.startswith("left"))


_SIDE = re.compile(r"(?<![A-Za-z])(?:l|r|left|right)(?![A-Za-z])", re.IGNORECASE)


class Skeleton(msgspec.Struct, frozen=True):
    """An object made of named keypoints.

    ``name`` is its category; ``points`` are the classes of its keypoints in order (each at most once); ``edges`` are
    pairs of positions in ``points``, from 0, to be drawn as lines; ``flip[i]`` is the position of the point that takes
    the place of point ``i`` in a mirrored image (``i`` itself for points in the middle); it is empty when nobody says
    which points are mirror images of each other.
    """

    name: str
    points: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip: tuple[int, ...] = ()


def make_skeleton(
    name: str, points: Sequence[str], edges: Iterable[tuple[str, str]] = (), flip: Iterable[tuple[str, str]] = ()
) -> Skeleton:
    """Return a skeleton from names: every name in ``edges`` and ``flip`` is one of ``points``, which all differ.

    Without any pair in ``flip`` the mirror images are not known; with one, points in no pair are in the middle.
    """
    position = {point: index for index, point in enumerate(points)}
    partner = {point: point for point in points}
    partner_known = False
    for left, right in flip:
        partner[left], partner[right] = right, left
        partner_known = True
    return Skeleton(
        name,
        tuple(points),
        tuple((position[start], position[end]) for start, end in edges),
        tuple(position[partner[point]] for point in points) if partner_known else (),
    )


def derive_skeletons(points: Iterable[str], locked: Mapping[str, Sequence[str]]) -> tuple[Skeleton, ...]:
    """Return the skeletons of keypoints of which only the names are known.

    All of COCO's person make a ``person``; the other ``points``, in their order, are one skeleton ``keypoints`` without
    lines, in which ``left_x`` and ``right_x`` are mirror images, unless another point names a side in another way.
    ``locked`` skeletons, by name, keep their places and
    their points; what is new comes after it.
    """
    found = {name: list(own) for name, own in locked.items()}
    taken = {point for own in found.values() for point in own}
    new = [point for point in dict.fromkeys(points) if point not in taken]
    if PERSON not in found and set(PERSON_POINTS) <= set(new):
        found = {**found, PERSON: list(PERSON_POINTS)} if locked else {PERSON: list(PERSON_POINTS), **found}
        new = [point for point in new if point not in PERSON_POINTS]
    if new:
        found.setdefault(REST, []).extend(new)
    return tuple(_derived(name, own) for name, own in found.items())


def _derived(name: str, points: Sequence[str]) -> Skeleton:
    if tuple(points) == PERSON_POINTS:
        return make_skeleton(name, points, PERSON_EDGES, PERSON_FLIP)
    flip = [
        (point, other)
        for point in points
        if point.startswith("left_") and (other := f"right_{point.removeprefix('left_')}") in points
    ]
    paired = {point for pair in flip for point in pair}
    is_clear = not any(_SIDE.search(point) for point in points if point not in paired)
    return make_skeleton(name, points, flip=flip if is_clear else ())


def keep_locked(skeletons: Sequence[Skeleton], locked: Mapping[str, Sequence[str]]) -> tuple[Skeleton, ...]:
    """``skeletons`` with the ``locked`` ones first, and the locked points of each first: all keep their numbers.

    A locked skeleton that is not among them stays, with its points alone.
    """
    own = {skeleton.name: skeleton for skeleton in skeletons}
    kept = [_reordered(own.pop(name, Skeleton(name, ())), points) for name, points in locked.items()]
    return (*kept, *own.values())


def _reordered(skeleton: Skeleton, first: Sequence[str]) -> Skeleton:
    names = skeleton.points
    return make_skeleton(
        skeleton.name,
        tuple(dict.fromkeys((*first, *names))),
        ((names[start], names[end]) for start, end in skeleton.edges),
        ((names[index], names[partner]) for index, partner in enumerate(skeleton.flip)),
    )
