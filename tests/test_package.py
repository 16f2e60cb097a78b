"""What is built from this repository is complete, although jobs/ has links to the package."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from exporting import ROOT


def test_the_wheel_and_what_it_is_built_from_hold_every_module(tmp_path):
    done = subprocess.run(
        [Path(sys.executable).with_name("uv"), "build", "--quiet", "--out-dir", tmp_path, ROOT],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    package = ROOT / "pipeline"
    files = [path for path in package.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    modules = {str(path.relative_to(ROOT)) for path in files}
    (wheel,) = tmp_path.glob("*.whl")
    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("pipeline/")} == modules
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert modules <= names
    assert {"jobs/export.py", "jobs/plugin/plugin/export.py", "requirements.lock"} <= names
    assert not [name for name in names if name.startswith(("jobs/pipeline", "jobs/configs"))]
