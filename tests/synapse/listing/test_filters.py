"""Nothing is sent that the backend would ignore: it answers a misspelt filter with the whole project."""

from datetime import UTC, date, datetime

import pytest

from pipeline.errors import ConfigError
from pipeline.sandbox.filters import ALLOWED
from pipeline.synapse.listing.filters import allowed_keys, check_filter

P = {"project": 12}
V = {"ground_truth_dataset_version": 99}


@pytest.mark.parametrize("target", ["task", "assignment", "ground_truth"])
def test_the_known_keys_are_exactly_those_the_backend_has(target):
    assert set(allowed_keys(target)) == set(ALLOWED[target]) - {"ground_truth_dataset_versions"}


@pytest.mark.parametrize(
    ("target", "given", "sent"),
    [
        ("task", {"project": 12}, {"project": "12"}),
        ("task", {"project_id": " 12 "}, {"project": "12"}),
        ("task", {**P, "status": "completed"}, {"project": "12", "status_label": "completed"}),
        ("task", {**P, "status": "rejected"}, {"project": "12", "status_review": "rejected"}),
        ("assignment", {**P, "user": 7}, {"project": "12", "users": "7"}),
        ("task", {**P, "user": [7, 8]}, {"project": "12", "labelers": "7,8"}),
        ("task", {**P, "tags": ["1", 2]}, {"project": "12", "tags": "1,2"}),
        ("task", {**P, "tags": "1, 2 ,"}, {"project": "12", "tags": "1,2"}),
        ("task", {**P, "created_after": "2026-08-01"}, {"project": "12", "created__gte": "2026-08-01"}),
        ("task", {**P, "created_before": "2026-08-01"}, {"project": "12", "created__lte": "2026-08-01"}),
        ("task", {**P, "date_from": "2026-08-01T00:00:00Z"}, {"project": "12", "created__gte": "2026-08-01T00:00:00Z"}),
        ("task", {**P, "end_date": date(2026, 8, 1)}, {"project": "12", "created__lte": "2026-08-01"}),
        (
            "assignment",
            {**P, "last_labeled_after": datetime(2026, 8, 1, tzinfo=UTC)},
            {"project": "12", "last_labeled__gte": "2026-08-01T00:00:00+00:00"},
        ),
        (
            "task",
            {**P, "date_range": {"from": "2026-08-01", "to": "2026-09-01"}},
            {"project": "12", "created__gte": "2026-08-01", "created__lte": "2026-09-01"},
        ),
        ("task", {**P, "date_range": ["2026-08-01", None]}, {"project": "12", "created__gte": "2026-08-01"}),
        ("assignment", {**P, "is_confirmed": True}, {"project": "12", "is_confirmed": "true"}),
        ("assignment", {**P, "is_confirmed": "False"}, {"project": "12", "is_confirmed": "false"}),
        ("task", {**P, "id__gte": 5, "id__lt": "900"}, {"project": "12", "id__gte": "5", "id__lt": "900"}),
        ("task", {**P, "search": "a, b"}, {"project": "12", "search": "a, b"}),
        ("ground_truth", V, {"ground_truth_dataset_versions": "99"}),
        ("ground_truth", {"version": "99"}, {"ground_truth_dataset_versions": "99"}),
        ("ground_truth", {**V, "category": "train"}, {"ground_truth_dataset_versions": "99", "category": "train"}),
        (
            "ground_truth",
            {**V, "categories": ["train", "test"], "classes": ["car", "가로수"]},
            {"ground_truth_dataset_versions": "99", "categories": "train,test", "classes": "car,가로수"},
        ),
    ],
)
def test_words_are_translated_and_values_become_text(target, given, sent):
    before = dict(given)
    assert check_filter(target, given) == sent
    assert given == before


@pytest.mark.parametrize("empty", [None, "", "  ", [], {}, ()])
def test_empty_values_are_left_out_as_the_platform_sends_them(empty):
    assert check_filter("assignment", {**P, "last_labeled__gte": empty, "nonsense": empty}) == {"project": "12"}


@pytest.mark.parametrize(
    ("target", "given", "key", "words"),
    [
        ("assignment", {**P, "task": 991}, "filter.task", "did you mean 'tasks'"),
        ("assignment", {**P, "workshops": 614}, "filter.workshops", "did you mean 'workshop'"),
        ("task", {**P, "workshop": 614}, "filter.workshop", "did you mean 'workshops'"),
        ("task", {**P, "is_confirmed": True}, "filter.is_confirmed", "unknown key for target task"),
        ("task", {**P, "has_data": True}, "filter.has_data", "known keys: assignments, "),
        ("task", {**P, "category": "train"}, "filter.category", "unknown key"),
        ("task", {**P, "last_labeled_after": "2026-08-01"}, "filter.last_labeled_after", "unknown key"),
        ("ground_truth", {**V, "id__in": "1"}, "filter.id__in", "unknown key"),
        ("ground_truth", {**V, "status": "completed"}, "filter.status", "unknown key"),
        ("ground_truth", {**V, "user": 7}, "filter.user", "unknown key"),
        ("ground_truth", {**V, "date_range": ["2026-08-01", ""]}, "filter.date_range", "unknown key"),
        ("task", {}, "filter.project", "is required"),
        ("task", {"project": ""}, "filter.project", "is required"),
        ("ground_truth", P, "filter.project", "unknown key"),
        ("ground_truth", {}, "filter.ground_truth_dataset_version", "is required"),
        ("ground_truth", {"ground_truth_dataset_version": "1.2.0"}, "ground_truth_dataset_version", "not its name"),
        ("ground_truth", {**V, "category": "val"}, "filter.category", "train, validation, test"),
        ("task", {"project": "Dashcam"}, "filter.project", "ids (numbers)"),
        ("task", {"project": [12, 13]}, "filter.project", "one value"),
        ("task", {"project": True}, "filter.project", "ids (numbers)"),
        ("task", {"project": -12}, "filter.project", "ids (numbers)"),
        ("task", {**P, "tags": "night"}, "filter.tags", "ids (numbers)"),
        ("task", {**P, "tags": [[1]]}, "filter.tags", "cannot be a list"),
        ("task", {**P, "tags": {"a": 1}}, "filter.tags", "a value or a list"),
        ("task", {**P, "status_label": "done"}, "filter.status_label", "completed"),
        ("task", {**P, "status_label": "rejected"}, "filter.status_label", "skipped"),
        ("task", {**P, "is_discarded": "maybe"}, "filter.is_discarded", "true or false"),
        ("task", {**P, "created__gte": "yesterday"}, "filter.created__gte", "ISO-8601"),
        ("task", {**P, "created__gte": ["2026-08-01", "2026-09-01"]}, "filter.created__gte", "one date"),
        ("task", {**P, "date_range": "2026"}, "filter.date_range", "{from: 2026-08-01, to: 2026-08-31}"),
        ("task", {**P, "date_range": {"since": "2026"}}, "filter.date_range", "from"),
        ("task", {**P, "status": "completed", "status_label": "skipped"}, "filter.status_label", "the same as"),
        ("task", {**P, "ids": list(range(100_000, 102_000))}, "filter.ids", "id__gte"),
        *(
            ("task", {**P, key: "1"}, f"filter.{key}", "cannot be set")
            for key in ("page_size", "fields", "expand", "ordering", "response_mode", "pagination", "page", "cursor")
        ),
    ],
)
def test_what_would_be_ignored_or_misread_is_refused_with_what_is_right(target, given, key, words):
    with pytest.raises(ConfigError) as caught:
        check_filter(target, given)
    assert str(caught.value).startswith(key) or key in str(caught.value)
    assert words in str(caught.value)
