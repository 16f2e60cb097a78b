"""The examples of docs/formats run, in the folder of an export, with the programs they are about."""

import re
import shutil

import pytest

from exporting import ROOT

PAGES = sorted((ROOT / "docs/formats").glob("*.md"))

pytestmark = pytest.mark.xdist_group("tidy")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tidy_export, tmp_path, ask):
    copy = shutil.copytree(tidy_export.path, tmp_path / "export")  # Ultralytics writes its cache into the tree
    names = ask("page", page, copy)
    imported = re.findall(r"^(?:from .* )?import (\w+)$", page.read_text(), re.MULTILINE)
    assert set(imported) <= {*names, "ray"}
