"""What a run does about what is at its path: every kind of content under every ``on_existing``."""

import msgspec
import pytest

from pipeline.destination import metadata
from pipeline.destination.existing import DECISIONS, Content, State, Success, examine, find_content
from pipeline.errors import DestinationError
from pipeline.model.ledger import Ledger
from pipeline.staging.area import Staging
from pipeline.staging.markers import Given, Identity, Plan
from pipeline.storage import open_storage

OURS = Identity({"name": "a", "formats": ["coco"]}, "https://api", "2")
ANOTHER = Identity({"name": "b", "formats": ["coco"]}, "https://api", "2")
OLDER = Identity(OURS.values, OURS.origin, "1")


def nothing(_):
    pass


def unknown_files(storage):
    storage.write("holiday.jpg", b"mine")


def half_removed(storage):
    storage.write("labels/1.txt", b"")
    storage.write(metadata.FILES, b"path,size,sha256\n")


def plan(identity):
    def write(storage):
        found = Plan("fingerprint", identity, 1, "project", Given(), (), 0, 0, ())
        Staging(storage, identity.key).write_plan(found)

    return write


def damaged_plan(identity):
    def write(storage):
        storage.write("labels/1.txt", b"")
        storage.write(f"_staging/{identity.key}/plan.json", b"{")

    return write


def success(identity):
    def write(storage):
        verdict = Success("run", "now", identity, "fingerprint", "content", 1, "sums", "list", Ledger())
        storage.write(metadata.SUCCESS, msgspec.json.encode(verdict))

    return write


def damaged_verdict(storage):
    storage.write("metadata/files.csv", b"path,bytes,sha256\n")
    storage.write("_SUCCESS.json", b"{")


CONTENTS = {
    Content.NOTHING: nothing,
    Content.UNKNOWN_FILES: unknown_files,
    Content.HALF_REMOVED: half_removed,
    Content.VERDICT_DAMAGED: damaged_verdict,
    Content.OUR_PLAN_DAMAGED: damaged_plan(OURS),
    Content.A_PLAN_DAMAGED: damaged_plan(ANOTHER),
    Content.OURS_FINISHED: success(OURS),
    Content.ANOTHER_FINISHED: success(ANOTHER),
    Content.OURS_UNFINISHED: plan(OURS),
    Content.ANOTHER_UNFINISHED: plan(ANOTHER),
    Content.OLDER_UNFINISHED: plan(OLDER),
}

EXISTS = "holds an export already and on_existing is 'fail'"
DAMAGED = "whose plan is damaged; use another path or on_existing: overwrite"
UNKNOWN = r"holds files that no export wrote \(holiday.jpg\); use an empty path"
VERDICT = r"_SUCCESS\.json: is damaged; run the configuration with on_existing: overwrite"
HALF = "on_existing: overwrite goes on with that"

ROWS = [
    # what is there, on_existing, what the run does or says
    (Content.NOTHING, "resume", State.START),
    (Content.NOTHING, "fail", State.START),
    (Content.NOTHING, "overwrite", State.START),
    (Content.UNKNOWN_FILES, "resume", UNKNOWN),
    (Content.UNKNOWN_FILES, "fail", UNKNOWN),
    (Content.UNKNOWN_FILES, "overwrite", UNKNOWN),
    (Content.HALF_REMOVED, "resume", HALF),
    (Content.HALF_REMOVED, "fail", HALF),
    (Content.HALF_REMOVED, "overwrite", State.REPLACE),
    (Content.VERDICT_DAMAGED, "resume", VERDICT),
    (Content.VERDICT_DAMAGED, "fail", VERDICT),
    (Content.VERDICT_DAMAGED, "overwrite", State.REPLACE),
    (Content.OUR_PLAN_DAMAGED, "resume", State.REPLACE),
    (Content.OUR_PLAN_DAMAGED, "fail", DAMAGED),
    (Content.OUR_PLAN_DAMAGED, "overwrite", State.REPLACE),
    (Content.A_PLAN_DAMAGED, "resume", DAMAGED),
    (Content.A_PLAN_DAMAGED, "fail", DAMAGED),
    (Content.A_PLAN_DAMAGED, "overwrite", State.REPLACE),
    (Content.OURS_FINISHED, "resume", State.FINISHED),
    (Content.OURS_FINISHED, "fail", EXISTS),
    (Content.OURS_FINISHED, "overwrite", State.REPLACE),
    (Content.ANOTHER_FINISHED, "resume", "a finished export that differs in: name"),
    (Content.ANOTHER_FINISHED, "fail", EXISTS),
    (Content.ANOTHER_FINISHED, "overwrite", State.REPLACE),
    (Content.OURS_UNFINISHED, "resume", State.RESUME),
    (Content.OURS_UNFINISHED, "fail", EXISTS),
    (Content.OURS_UNFINISHED, "overwrite", State.REPLACE),
    (Content.ANOTHER_UNFINISHED, "resume", "an unfinished export that differs in: name"),
    (Content.ANOTHER_UNFINISHED, "fail", EXISTS),
    (Content.ANOTHER_UNFINISHED, "overwrite", State.REPLACE),
    (Content.OLDER_UNFINISHED, "resume", State.REPLACE),
    (Content.OLDER_UNFINISHED, "fail", EXISTS),
    (Content.OLDER_UNFINISHED, "overwrite", State.REPLACE),
]


def test_every_content_has_a_row_for_every_policy():
    assert {(content, policy) for content, policy, _ in ROWS} == {
        (content, policy) for content in Content for policy in ("resume", "fail", "overwrite")
    }
    assert set(DECISIONS) == set(Content) == set(CONTENTS)


@pytest.mark.parametrize(("content", "policy", "outcome"), ROWS)
def test_what_a_run_does(content, policy, outcome, tmp_path):
    storage = open_storage(str(tmp_path / "out"))
    CONTENTS[content](storage)
    before = sorted(storage.files())
    assert find_content(storage, OURS)[0] is content
    if isinstance(outcome, State):
        assert examine(storage, OURS, policy) is outcome
    else:
        with pytest.raises(DestinationError, match=outcome):
            examine(storage, OURS, policy)
    assert sorted(storage.files()) == before


def test_our_own_plan_counts_before_another_one(tmp_path):
    """Listings may lag behind, so ours is asked for by its name."""
    storage = open_storage(str(tmp_path / "out"))
    plan(ANOTHER)(storage)
    plan(OURS)(storage)
    assert examine(storage, OURS, "resume") is State.RESUME
