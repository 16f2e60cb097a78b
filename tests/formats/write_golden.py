"""Write the golden files again. Read the diff before you commit it.

::

.venv/bin/python -m tests.formats.write_golden
"""

import shutil
from pathlib import Path

from pipeline.formats import FORMATS, load_format
from pipeline.formats.testing import catalog_of, join_samples, samples

GOLDEN = Path(__file__).parent / "golden"
OTHERS = {f"yolo_{task}": ("yolo", {"task": task, "folder": task}) for task in ("segment", "pose", "obb")}


def golden(name):
    """The files that a format wrote when they were last read and found right, by path."""
    root = GOLDEN / name
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def main():
    for name, (format_, options) in ({name: (name, {}) for name in FORMATS} | OTHERS).items():
        shutil.rmtree(GOLDEN / name, ignore_errors=True)
        for path, data in join_samples(load_format(format_, options), samples(), catalog_of(samples())).items():
            target = GOLDEN / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


if __name__ == "__main__":
    main()
