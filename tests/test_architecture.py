"""Rules of docs/design.md that import-linter cannot express: sizes of folders, circles, and who opens files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from exporting import ROOT

PACKAGE = ROOT / "pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES if "sandbox" not in path.parts})
MOST_MODULES = 15


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = {"pipeline." + name_of(path).removesuffix(".__init__"): path for path in MODULES}


def imports(path):
    """Modules that a module imports; ``from package import module`` needs the module, not all of the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in NAMES else node.module


def test_the_contracts_between_packages_hold():
    """Arrows go down, formats are independent, each heavy library has its home: see .importlinter."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_can_be_taken_in_at_a_glance(folder):
    assert len(list(folder.glob("*.py"))) <= MOST_MODULES


def test_formats_do_no_input_or_output():
    for path in MODULES:
        name = name_of(path)
        if name.startswith("formats.") and not name.startswith("formats.testing"):
            assert not {"os", "pathlib", "fsspec", "aiohttp"} & {i.split(".")[0] for i in imports(path)}, name


def test_only_storage_opens_files_for_writing():
    for path in MODULES:
        name = name_of(path)
        if name == "storage.local" or name.startswith(("sandbox", "formats.testing")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open"), f"{name}:{node.lineno}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {other for other in imports(path) if other in NAMES} - {name} for name, path in NAMES.items()}
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
