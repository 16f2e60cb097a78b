"""The layers and library homes of docs/design.md hold, so that data can only move down."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"
LONGEST = 400

LAYERS = {
    "errors": 0, "reasons": 0, "records": 0, "shards": 0,
    "config": 1, "config_parts": 1, "skeletons": 1, "splits": 1, "class_lock": 1, "side_files": 1,
    "geometry": 1, "masks": 1, "outlines": 1, "pictures": 1, "frames": 1,
    "naming": 1, "tar": 1, "catalog": 1, "storage": 1, "storage.*": 1, "ledger": 1,
    "staging": 2, "staged_samples": 2, "spool": 2, "memory": 2, "executors": 2, "progress": 2, "formats": 2,
    "synapse": 2, "synapse.*": 2, "synapse.source": 3,
    "formats.*": 3, "ray_executor": 3, "ray_tasks": 3, "metadata": 3, "lock": 3, "destination": 3, "packages": 3,
    "workspace": 4, "machines": 4, "plan": 4, "empty": 4, "careful": 4, "extract": 4, "numbering": 4, "output": 4,
    "write": 4, "merge": 4, "publish": 4, "verify": 4, "clean": 4, "copies": 4, "patch": 4,
    "run": 5, "forecast": 5, "retry": 5,
    "report": 6, "cli": 6, "job": 7, "__main__": 6, "sandbox": 6, "sandbox.*": 6,
}  # fmt: skip

HOMES = {
    "ray": ["ray_executor"],
    "synapse_sdk": ["synapse.*"],
    "fsspec": ["storage.*"],
    "pyarrow": ["staged_samples", "formats.parquet"],
    "pycocotools": ["masks"],
    "yaml": ["config"],
    "aiohttp": ["synapse.*", "sandbox.*"],
    "PIL": ["pictures", "sandbox.*"],
    "rich": ["progress", "report", "cli"],
}


def module_names():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield path, name.removesuffix(".__init__") if name != "__init__" else ""


MODULES = [(path, name) for path, name in module_names() if name]
NAMES = {name for _, name in MODULES}


def matches(name, pattern):
    return name == pattern or (pattern.endswith(".*") and name.startswith(pattern[:-1])) or name == pattern[:-2]


def layer(name):
    if name in LAYERS:
        return LAYERS[name]
    pattern = f"{name.split('.')[0]}.*"
    assert pattern in LAYERS, f"{name} has no layer; add it to LAYERS and to docs/design.md"
    return LAYERS[pattern]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:  # `from package import module` needs the module, not all of the package
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("pipeline.") in NAMES else node.module


@pytest.mark.parametrize(("path", "name"), MODULES, ids=[name for _, name in MODULES])
def test_a_module_imports_only_from_its_layer_or_the_ones_below(path, name):
    known = {other for _, other in MODULES}
    for imported in imports(path):
        target = imported.removeprefix("pipeline.")
        if imported.startswith("pipeline.") and target in known and target != name:
            assert layer(target) <= layer(name), f"{name} imports {target} from a higher layer"


@pytest.mark.parametrize(("path", "name"), MODULES, ids=[name for _, name in MODULES])
def test_each_heavy_library_has_one_home(path, name):
    for imported in imports(path):
        homes = HOMES.get(imported.split(".")[0])
        if homes:
            assert any(matches(name, home) for home in homes), f"{name} imports {imported}"


def test_no_module_imports_itself_in_a_circle():
    known = {name: path for path, name in MODULES}
    graph = {
        name: {t for i in imports(path) if i.startswith("pipeline.") and (t := i.removeprefix("pipeline.")) in known}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name] - {name}:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(("path", "name"), MODULES, ids=[name for _, name in MODULES])
def test_files_stay_short_enough_to_read(path, name):
    assert len(path.read_text().splitlines()) <= LONGEST + 20


def test_formats_do_no_input_or_output():
    for path, name in MODULES:
        if name.startswith("formats."):
            assert not {"os", "pathlib", "io", "fsspec", "aiohttp"} & {i.split(".")[0] for i in imports(path)}, name


def test_only_storage_opens_files_for_writing():
    allowed = {"storage.local"}
    for path, name in MODULES:
        if name in allowed or name.startswith("sandbox"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open":
                raise AssertionError(f"{name} line {node.lineno} opens a file")
