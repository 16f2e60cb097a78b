"""Exports of the sandboxes with every format, and the consumers' Python to ask what it finds in them.

A check (``check_*.py``) is a script for the Python of ``.venv-consumers``: it loads an export the way a user would and
prints, as its last line, one JSON document of what it saw.
"""

import csv
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumers.edges import export_edges
from consumers.explained import unexplained
from exporting import ROOT, export, summary
from pipeline.sandbox.data import RecordTruth

CHECKS = Path(__file__).parent
PYTHON = ROOT / ".venv-consumers/bin/python"
FORMATS = [
    "coco",
    *({"yolo": {"task": task, "ndjson": True}} for task in ("detect", "segment", "pose", "obb")),
    {"voc": {"images": "transcode"}},  # VOC readers look for <id>.jpg
    "semantic",
    "imagefolder",
    {"webdataset": {"images_per_tar": 20}},
    {"parquet": {"images_per_file": 20}},
    "csv",
    "synapse_json",
]


class Export(NamedTuple):
    """A finished export, what its summary says, and what is true about its records by their key."""

    path: Path
    summary: dict[str, Any]
    truth: dict[int, RecordTruth]

    @property
    def classes(self):
        return [entry["name"] for entry in self.summary["classes"]]

    def classes_of(self, tree):
        """The classes of a tree of labels, ``yolo/detect`` for example, in the order of their numbers."""
        return self.summary["trees"][tree]

    def rows(self, file):
        """The rows of one of the export's CSV files."""
        with (self.path / file).open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    def written(self, name, *tools):
        """How many annotations of some tools a format has: those there are, less those the summary calls skipped."""
        there = Counter(row["tool"] for row in self.rows("annotations.csv") if row["annotation_id"])
        books = self.summary["formats"][name]
        skipped = books["annotations"]["skipped"]
        lost = {tool: sum(n for why, n in whys.items() if why in skipped) for tool, whys in books["losses"].items()}
        return sum(there[tool] - lost.get(tool, 0) for tool in tools or there)

    def copied(self):
        """The rows of ``records.csv`` that have an image below ``images/``."""
        rows = self.rows("metadata/records.csv")
        return [row for row in rows if row["sha256"] and row["output_name"].startswith("images/")]

    def images(self):
        """The usable images: ``{file name: (key of the record, name of the media)}``; file names are unique."""
        return {Path(row["output_name"]).name: (int(row["record_id"]), row["media"]) for row in self.copied()}

    def splits(self):
        """How many images each split has."""
        return Counter(row["split"] for row in self.copied())

    def names(self, kind):
        """The file names of the images of records that are malformed in a certain way."""
        return sorted(name for name, (key, _) in self.images().items() if self.truth[key].kind == kind)

    def things(self, tool):
        """What there is of a tool on each image: ``{file name: [Thing]}``."""
        return {
            name: [
                thing
                for media in self.truth[key].media
                for thing in media.things
                if thing.tool == tool and media.media == wanted
            ]
            for name, (key, wanted) in self.images().items()
        }

    def boxes(self):
        """The boxes on each image, in pixels: ``{file name: [(class, x, y, width, height)]}``."""
        return {
            name: sorted((thing.label, *thing.geometry[:4]) for thing in things)
            for name, things in self.things("bounding_box").items()
        }


def made(sandbox, path, formats=FORMATS):
    """Export to ``path``, in every format if not told otherwise."""
    # Turned upright, because some consumers heed EXIF and some do not. Some stop at an image that is not there.
    export(sandbox, path, formats=formats, max_failures="100%", exif="bake", on_missing_original="drop_image")
    return Export(path, summary(path), {record.key: record for record in sandbox.truth("task")})


@pytest.fixture(scope="session")
def tidy_export(tidy, tmp_path_factory):
    return made(tidy, tmp_path_factory.mktemp("tidy") / "export")


@pytest.fixture(scope="session")
def nasty_export(nasty, tmp_path_factory):
    return made(nasty, tmp_path_factory.mktemp("nasty") / "export")


@pytest.fixture(scope="session")
def edges_export(tmp_path_factory):
    """The path of an export of boxes at the borders of their pictures."""
    path = tmp_path_factory.mktemp("edges") / "export"
    export_edges(path)
    return path


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("tidy", "nasty")])
def exported(request):
    """Both exports, one after the other."""
    return request.getfixturevalue(f"{request.param}_export")


@pytest.fixture(scope="session")
def ask(tmp_path_factory):
    """Run a check with arguments and return what it saw; the same question is asked once.

    Nothing may be said on the way that the documentation does not explain.
    """
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "YOLO_CONFIG_DIR": str(home),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    answers: dict[tuple[str, ...], Any] = {}

    def asked(check, *arguments):
        question = (check, *map(str, arguments))
        if question not in answers:
            process = subprocess.run(
                [PYTHON, CHECKS / f"check_{check}.py", *question[1:]],
                env=environment, cwd=home, capture_output=True, text=True, timeout=200, check=False,
            )  # fmt: skip
            assert process.returncode == 0, f"{question}\n{process.stdout[-2000:]}\n{process.stderr[-4000:]}"
            *said, answer = process.stdout.splitlines()
            assert unexplained([*said, *process.stderr.splitlines()]) == [], question
            answers[question] = json.loads(answer)
        return answers[question]

    return asked
