"""Writes a folder that runs an export by itself: ``job CONFIG -o DIR`` to submit, ``plugin -o DIR`` to publish."""

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.cli.job import CONFIG_NAME  # noqa: E402
from pipeline.config.export import ExportConfig  # noqa: E402
from pipeline.config.loading import load_config  # noqa: E402
from pipeline.errors import ConfigError, ExportError  # noqa: E402
from pipeline.stages.preflight import check_job_paths  # noqa: E402

_FORWARDED = ("SYNAPSE_", "RAY_")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def main() -> int:
    """Make the folder and say how to use it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    job = kinds.add_parser("job")
    job.add_argument("config", type=Path, help="the configuration of the export")
    for sub in (job, kinds.add_parser("plugin")):
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    options = parser.parse_args()
    try:
        if options.kind == "job":
            bundle_job(options.config, options.output)
        else:
            bundle_plugin(options.output)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def bundle_job(config_path: Path, output: Path) -> None:
    """Script, configuration with the files beside it that it names, package and requirements.

    Raises ConfigError for a configuration that cannot be right, or names what a job cannot reach.
    """
    text = _read(config_path)
    variables = set(re.findall(r"\$\{(\w+)\}", text))
    missing = {name for name in variables if name not in os.environ}
    os.environ.update(dict.fromkeys(missing, "1"))  # only to check the rest; what they are is known on the cluster
    config = load_config(config_path)
    if not any(f"${{{name}}}" in line for name in missing for line in text.splitlines() if line.startswith("path:")):
        check_job_paths(config)
    beside = _files_beside(config, config_path.resolve().parent)
    _start(output)
    shutil.copy(ROOT / "jobs/export.py", output)
    shutil.copy(ROOT / "jobs/requirements.txt", output)
    shutil.copy(config_path, output / CONFIG_NAME)
    for source, name in beside:
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    shutil.copytree(ROOT / "pipeline", output / "pipeline", ignore=_LEFT_OUT)

    print("submit it with:")
    print(f"  synapse script submit {shlex.quote(str(output / 'export.py'))} --follow")
    print("or, to any Ray cluster:")
    needed = json.dumps({"pip": str(output.resolve() / "requirements.txt")})
    folder = f"--working-dir {shlex.quote(str(output))} --runtime-env-json {shlex.quote(needed)}"
    print(f"  ray job submit {folder} -- python export.py")
    print("  (without --runtime-env-json where the cluster's image has all of requirements.txt)")
    print("The first command exits with 0 even when the job fails. What holds is the job's last line (verdict: …) and")
    print(f"_SUCCESS.json in {f'storage {config.storage}, ' if config.storage is not None else ''}{config.path}")
    for name in sorted(variables):
        if not name.startswith(_FORWARDED):
            print(f"note: {name} is not sent along; it must be set on the cluster")
        elif name in missing:
            print(f"note: {name} is not set here; set it before you submit")


def bundle_plugin(output: Path) -> None:
    """The plugin with the package in it. Raises ConfigError when the folder is not empty."""
    _start(output)
    shutil.copytree(ROOT / "jobs/plugin", output, ignore=_LEFT_OUT, dirs_exist_ok=True)
    shutil.copytree(ROOT / "pipeline", output / "pipeline", ignore=_LEFT_OUT)
    place = shlex.quote(str(output))
    print("look at what would be published, then publish it:")
    print(f"  synapse plugin publish --path {place} --dry-run")
    print(f"  synapse plugin publish --path {place}")


def _start(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(str(output), "is not empty; give a new folder")
    output.mkdir(parents=True, exist_ok=True)


def _read(config_path: Path) -> str:
    """The text without comments; nothing when it cannot be read, which ``load_config`` says better."""
    try:
        return re.sub(r"(^|\s)#.*", "", config_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""


def _files_beside(config: ExportConfig, folder: Path) -> list[tuple[Path, str]]:
    """Files and modules beside the configuration that it names: where each is, and its place in the folder."""
    names = [config.split.file] if config.split.file and "://" not in config.split.file else []
    found = [(folder / name, name) for name in names if not Path(name).expanduser().is_absolute()]
    for source, name in found:
        if ".." in Path(name).parts or not source.is_file():
            raise ConfigError("split.file", f"{name} must be a file beside the configuration or below it")
    for entry in config.formats:
        module, colon, _ = entry.name.partition(":")
        places = (folder / f"{module.partition('.')[0]}.py", folder / module.partition(".")[0]) if colon else ()
        found += [(source, source.name) for source in places if source.exists()]
    return found


if __name__ == "__main__":
    sys.exit(main())
