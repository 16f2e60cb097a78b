"""What the documents say is what the program does."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import synapse_sdk.cli
import typer.main
import yaml

from exporting import command, environment, settings, write_config
from pipeline.cli.app import app
from pipeline.cli.job import CONFIG_NAME, CONFIG_VARIABLE, FAILED, OPTIONS_VARIABLE, VERDICTS
from pipeline.config.export import ExportConfig
from pipeline.config.loading import parse_config
from pipeline.config.sections import ClassConfig, ReportConfig, RunConfig, SplitConfig
from pipeline.synapse.listing.filters import check_filter

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_configuration_of_the_readme_is_valid():
    (text,) = blocks(README, "yaml")
    config = parse_config(text)
    assert check_filter(config.target, config.filter)


def test_the_configuration_of_the_readme_runs(tidy, tmp_path):
    (text,) = blocks(README, "yaml")
    values = yaml.safe_load(text) | {"filter": {"project": tidy.project_id, "status_label": "completed"}}
    values |= {"path": str(tmp_path / "out"), "run": {"executor": "serial"}}
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 0, done.stderr
    tree = README.split("## What you get")[1].split("```")[1]
    for line in tree.splitlines():
        for name in re.findall(r"([\w/<>.]+\.(?:json|yaml|txt|csv|jsonl|<ext>)|SHA256SUMS)(?=[, ]|$)", line):
            pattern = re.sub(r"<\w+>", "*", name)
            if name.startswith("files/"):  # tidy data has none
                continue
            found = list((tmp_path / "out").glob(pattern)) or list((tmp_path / "out/metadata").glob(pattern))
            assert found, f"README promises {name}"


def test_the_python_of_the_readme_runs(tidy, tmp_path):
    (code,) = blocks(README, "py")
    write_config(tmp_path, settings(tidy, tmp_path / "out", formats=["coco"])).rename(tmp_path / "my.yaml")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(tidy), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0"


def test_the_format_of_the_readme_runs(tidy, tmp_path):
    (code,) = blocks(README, "python")
    assert len(code.strip().splitlines()) <= 30
    (tmp_path / "my_formats.py").write_text(code)
    values = settings(tidy, tmp_path / "out", formats=[{"my_formats:PixelCounts": {"least": 5000}}])
    done = command("run", write_config(tmp_path, values), env=environment(tidy))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out/pixels.csv").read_text().splitlines()
    assert lines[0] == "image,class,pixels"
    assert all(int(line.split(",")[2]) >= 4990 for line in lines[1:])
    assert len(lines) > 10
    assert '"TOO_SMALL"' in (tmp_path / "out/metadata/losses.jsonl").read_text()


def test_the_commands_of_the_documents_exist():
    commands = typer.main.get_command(app).commands
    found = 0
    for page in PAGES:
        for line in "\n".join(blocks(page.read_text(), "sh")).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["synapse-export"]:
                commands[words[1]].make_context(words[1], words[2:])  # raises on wrong arguments; runs nothing
                found += 1
            elif words and words[0].startswith("scripts/"):
                assert (ROOT / words[0]).exists(), words[0]
    assert found >= 3


def test_the_commands_of_the_platform_in_the_documents_exist():
    """With their options, in the SDK that is installed."""
    found = set()
    for page in PAGES:
        lines = "\n".join(blocks(page.read_text(), "sh")).replace("\\\n", " ").splitlines()
        for line in [*lines, *re.findall(r"`(synapse [^`]+)`", page.read_text())]:
            words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
            if words[:1] != ["synapse"] or "…" in words:
                continue
            command, words = typer.main.get_command(synapse_sdk.cli.cli), words[1:]
            while words and hasattr(command, "commands"):
                found.add(words[0])
                command, words = command.commands[words[0]], words[1:]
            if line in lines and not hasattr(command, "commands"):
                command.make_context(line, words)  # raises on wrong arguments; runs nothing
    assert {"login", "submit", "publish", "run", "get", "logs", "stop"} <= found


READ_PARAMETERS = """
import sys
from plugin.export import ExportParams, export_config
print(export_config(ExportParams.model_validate_json(sys.stdin.read())).model_dump_json())
"""


def test_the_parameters_of_the_plugin_are_valid():
    """The page says to save them as ``params.json``."""
    page = (ROOT / "docs/run-plugin.md").read_text()
    (text,) = [text for text in blocks(page, "json") if "extra_params" in text]
    assert "[parameters](#parameters) below there as `params.json`" in page
    done = subprocess.run(
        [sys.executable, "-c", READ_PARAMETERS], cwd=ROOT, env=environment(PYTHONPATH=str(ROOT / "jobs/plugin")),
        input=text, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = parse_config(done.stdout)
    assert check_filter(config.target, config.filter)


def test_every_configuration_key_is_documented_and_no_other():
    text = (ROOT / "docs/configuration.md").read_text().split("## Filters")[0]
    documented = set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE))
    nested = {"split": SplitConfig, "classes": ClassConfig, "run": RunConfig}
    expected = {name for name in ExportConfig.model_fields if name not in nested}
    expected |= {f"{name}.{key}" for name, model in nested.items() for key in model.model_fields}
    expected |= {f"report.{key}" for key in ReportConfig.model_fields}  # ``report`` itself may be true or false
    assert documented == expected


def test_documented_defaults_are_the_real_ones():
    text = (ROOT / "docs/configuration.md").read_text()
    for key, value in re.findall(r"^\| `run\.(\w+)` \| `([^`]+)` \|", text, re.MULTILINE):
        assert str(RunConfig.model_fields[key].default).lower() == value


def test_documented_filter_keys_are_accepted():
    text = (ROOT / "docs/configuration.md").read_text().split("## Filters")[1]
    for target, required, more in re.findall(r"^\| `(\w+)` \| `(\w+)`[^|]*\| (.+) \|$", text, re.MULTILINE):
        plain, _, _dates = more.partition(", and ")
        for key in re.findall(r"`(\w+)`", plain):
            value = "completed" if key.startswith("status_") else "train" if key.startswith("categor") else "1"
            assert check_filter(target, {required: 1, key: value}), key


def test_the_tree_of_the_design_is_the_package():
    design = (ROOT / "docs/design.md").read_text()
    (tree,) = re.findall(r"^```\n(pipeline/\n.*?)^```", design, re.MULTILINE | re.DOTALL)
    shown, folders = set(), []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth:] = [name]
        if not name.endswith("/"):
            shown.add("".join(folders))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").rglob("*.py")}
    own = {name for name in modules if not name.endswith("/__init__.py")}
    assert own - shown == set(), "modules that docs/design.md does not show"
    assert shown - modules - {"pipeline/py.typed"} == set(), "files that docs/design.md shows and that are not there"


def test_the_way_of_a_record_in_the_design_exists():
    design = (ROOT / "docs/design.md").read_text()
    steps = re.findall(r"^\| \w* \| `([\w/]+\.py)` \| `(\w+)` \|", design, re.MULTILINE)
    assert len(steps) > 15
    for path, name in steps:
        nodes = ast.walk(ast.parse((ROOT / "pipeline" / path).read_text()))
        assert name in {getattr(node, "name", "") for node in nodes}, f"{path} has no {name}"


def test_files_that_the_design_names_exist():
    design = (ROOT / "docs/design.md").read_text()
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", design):
        assert (ROOT / "pipeline" / path).exists() or (ROOT / path).exists(), path


def test_the_verdicts_of_a_job_are_documented():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| [A-Z]+ \|$", (ROOT / "docs/run-ray-job.md").read_text(), re.MULTILINE)
    documented = {int(code): verdict for code, verdict in rows}
    assert documented == {code: text for code, text in VERDICTS.items() if code != 130} | {1: FAILED}


def test_the_variables_of_a_job_are_documented():
    page = (ROOT / "docs/run-synapse-script.md").read_text()
    for name in (CONFIG_VARIABLE, OPTIONS_VARIABLE, CONFIG_NAME):
        assert f"`{name}`" in page, name


def test_every_public_name_has_a_docstring():
    for path in (ROOT / "pipeline").rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
