"""Prints jobs/requirements.txt: what a job installs on a cluster, in the versions that were tested.

Ray is left out: a job runs with the cluster's own.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# What the export needs beside Ray, which is the cluster's own, in the versions that were tested with it.
# Written by: python scripts/job_requirements.py > jobs/requirements.txt
"""


def requirements() -> str:
    """The text: each dependency of the package but ray, pinned as requirements.lock pins it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [match[0] for line in project["dependencies"] if (match := re.match(r"[\w-]+", line))]
    locked = re.findall(r"^([\w-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    versions = dict(locked)
    return HEADER + "".join(f"{name}=={versions[name]}\n" for name in names if name != "ray")


if __name__ == "__main__":
    sys.stdout.write(requirements())
