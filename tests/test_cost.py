"""What a record costs, counted in calls: the same on any machine, however busy it is."""

import os
import sys
from collections import Counter

import pytest

from exporting import export
from pipeline.sandbox import Sandbox, SandboxOptions

FEW, MANY = 60, 260


def count_calls(work):
    """Run ``work``; returns how often this thread called functions of Python and of C, encoders of JSON, and open."""
    calls = Counter()

    def count(_frame, event, function):
        if event == "call":
            calls["Python"] += 1
        elif event == "c_call":
            calls["C"] += 1
            calls["encode"] += function.__name__ == "encode" and "msgspec" in type(function.__self__).__module__
            calls["open"] += function is os.open

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.fixture(scope="module")
def cost(tmp_path_factory):
    """Calls for each further record of the kind that speed is measured with, exported as COCO and YOLO."""
    counts = []
    for records in (FEW, FEW, MANY):  # the first export also pays for imports
        with Sandbox(SandboxOptions(profile="bench", records=records)) as sandbox:
            options = {"formats": ["coco", "yolo"], "save_original_file": False, "run": {"shard_size": 500}}
            path = tmp_path_factory.mktemp("cost") / "export"
            counts.append(count_calls(lambda: export(sandbox, path, **options)))  # noqa: B023  called at once
    _, few, many = counts
    return {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in many}


def test_a_record_costs_a_bounded_number_of_calls(cost):
    """15 annotations of 4 kinds. Who adds a call for each annotation finds it here; raise a bound only for a reason."""
    assert 100 < cost["Python"] < 215
    assert 300 < cost["C"] < 480


def test_annotations_are_encoded_together_and_a_label_file_is_opened_once(cost):
    """A sample, its record, COCO's image, its annotations and its keypoints, and a line for each kind of loss."""
    assert 4 < cost["encode"] < 8
    assert cost["open"] == pytest.approx(1, abs=0.1)
