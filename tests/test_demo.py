"""The first command of the README, as a newcomer runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from exporting import ROOT, environment
from pipeline.commands.verify import verify
from pipeline.storage import open_storage
from tests.formats.yolo.grammar import check_yolo_tree

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


def sandboxes():
    """Process ids of sandboxes that the demo started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"sandbox" in command and b"300" in command:
            found.append(int(name))
    return found


def test_the_demo_exports_with_ray_and_stops_its_sandbox(tmp_path):
    before = sandboxes()
    done = subprocess.run(
        ["scripts/demo", "--set", f"path={tmp_path / 'demo'}"], cwd=ROOT, env=environment(), capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in ("300 of 300 records exported", "originals", "classes (", "splits: train", "where: ", "next: "):
        assert text in done.stdout
    assert sandboxes() == before
    assert len(verify(open_storage(str(tmp_path / "demo")), full=True).ledger.formats) == 3
    assert len(COCO(tmp_path / "demo/annotations/instances_train.json").imgs) > 200
    rows = check_yolo_tree(tmp_path / "demo")
    assert len(rows) == 300
    summary = json.loads((tmp_path / "demo/metadata/export_summary.json").read_text())
    assert sum(map(len, rows.values())) == summary["formats"]["yolo"]["annotations"]["written"]
