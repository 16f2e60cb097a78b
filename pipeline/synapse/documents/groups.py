"""Read annotation groups, which say what belongs together (for example the keypoints of one skeleton)."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from pipeline.model.labels import tidy_label

NO_GROUP = ("", "")


class Member(msgspec.Struct, gc=False):
    """A member of a group in the older form, with further members below it."""

    annotationId: str  # noqa: N815 (the document's own name)
    children: list["Member"] | None = None


class Group(msgspec.Struct, gc=False):
    """A group of a media: members by id, or in the older, nested form. It can have a class of its own."""

    id: str
    annotationIds: list[str] | None = None  # noqa: N815 (the document's own name)
    annotationList: list[Member] | None = None  # noqa: N815 (the document's own name)
    classification: Any = None

    @property
    def label(self) -> str:
        """The class of the group, ``""`` when it has none."""
        code = self.classification.get("class") if isinstance(self.classification, dict) else self.classification
        return tidy_label(code) if isinstance(code, str) else ""


def membership(groups: Iterable[Group]) -> dict[str, tuple[str, str]]:
    """Return id and class of the group of each annotation, by annotation id.

    An annotation in several groups is in none, because it is not known which one is meant; formats report it.
    """
    group_of: dict[str, tuple[str, str]] = {}
    for group in groups:
        own = group.id, group.label
        for member in (*(group.annotationIds or ()), *_ids(group.annotationList)):
            group_of[member] = own if group_of.get(member, own)[0] == group.id else NO_GROUP
    return group_of


def _ids(members: Iterable[Member] | None) -> Iterator[str]:
    for member in members or ():
        yield member.annotationId
        yield from _ids(member.children)
