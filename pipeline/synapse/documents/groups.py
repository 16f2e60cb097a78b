"""Read annotation groups, which say what belongs together (for example the keypoints of one skeleton)."""

from collections.abc import Iterable, Iterator

import msgspec


class Member(msgspec.Struct, gc=False):
    """A member of a group in the older form, with further members below it."""

    annotationId: str  # noqa: N815 (the document's own name)
    children: list["Member"] | None = None


class Group(msgspec.Struct, gc=False):
    """A group of a media: members by id, or in the older, nested form."""

    id: str
    annotationIds: list[str] | None = None  # noqa: N815 (the document's own name)
    annotationList: list[Member] | None = None  # noqa: N815 (the document's own name)


def membership(groups: Iterable[Group]) -> dict[str, str]:
    """Return the group of each annotation, by annotation id.

    An annotation in several groups gets ``""``, because it is not known which one is meant; formats report it.
    """
    group_of: dict[str, str] = {}
    for group in groups:
        for member in (*(group.annotationIds or ()), *_ids(group.annotationList)):
            group_of[member] = group.id if group_of.get(member, group.id) == group.id else ""
    return group_of


def _ids(members: Iterable[Member] | None) -> Iterator[str]:
    for member in members or ():
        yield member.annotationId
        yield from _ids(member.children)
