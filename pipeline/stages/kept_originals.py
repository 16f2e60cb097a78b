"""Remember which originals of a shard were copied, so that a retry does not fetch them again.

The list is kept only where an export may be published with failures. A copy counts when it is of the same file of the
same record, at the same path, and the file there has the same size.
"""

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.model.source import Copied, Wanted
from pipeline.records import Failure
from pipeline.stages.workspace import Workspace
from pipeline.staging.area import seal, unseal


class _Copy(msgspec.Struct, frozen=True, array_like=True):
    record_id: int
    spec: str
    copied: Copied


class _Copies(msgspec.Struct, frozen=True):
    fingerprint: str
    copies: tuple[_Copy, ...]


def _path(workspace: Workspace, index: int) -> str:
    return f"{workspace.staging.root}/copies/{index:06d}.json"


def find_copies(workspace: Workspace, fingerprint: str, index: int, wanted: Sequence[Wanted]) -> dict[str, Copied]:
    """The ``wanted`` originals of shard ``index`` that are in place, by their path."""
    kept = unseal(workspace.storage.find(_path(workspace, index)), _Copies)
    if kept is None or kept.fingerprint != fingerprint:
        return {}
    known = {(copy.record_id, copy.spec, copy.copied.path): copy.copied for copy in kept.copies}
    found = {one.path: known.get((one.record_id, one.spec, one.path)) for one in wanted}
    return {path: copied for path, copied in found.items() if copied and workspace.storage.size(path) == copied.size}


def keep_copies(
    workspace: Workspace, fingerprint: str, index: int, wanted: Sequence[Wanted], copies: Mapping[str, Copied | Failure]
) -> None:
    """Record which originals of shard ``index`` are in place."""
    kept = tuple(
        _Copy(one.record_id, one.spec, copied) for one in wanted if not isinstance(copied := copies[one.path], Failure)
    )
    workspace.storage.write(_path(workspace, index), seal(_Copies(fingerprint, kept)))
