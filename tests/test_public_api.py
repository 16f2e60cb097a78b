"""The public face of the package: its names, what importing it costs, and where it can be used from."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading

import pytest
import yaml

import pipeline
from exporting import ROOT, digest, environment, export, settings
from pipeline import load_config, parse_config, run
from pipeline.commands.session import open_session
from pipeline.destination.existing import read_success
from stores import environment_of

HEAVY = {
    "PIL",
    "aiohttp",
    "fsspec",
    "msgspec",
    "numpy",
    "pyarrow",
    "pycocotools",
    "shapely",
    "pydantic",
    "ray",
    "rich",
    "synapse_sdk",
    "typer",
    "yaml",
}

NAMES = [
    "ExportConfig",
    "ExportError",
    "Forecast",
    "Result",
    "__version__",
    "forecast",
    "load_config",
    "parse_config",
    "retry_failed",
    "run",
    "verify",
]


def python(code, *, env=None, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def golden(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "out"
    export(tidy, path)
    return digest(path)


def test_the_public_names_are_these():
    assert sorted(pipeline.__all__) == NAMES == dir(pipeline)
    for name in NAMES:
        assert getattr(pipeline, name) is not None


def test_importing_the_package_imports_no_heavy_library():
    found = python(
        "import pipeline, sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    assert not set(json.loads(found)) & HEAVY


@pytest.mark.parametrize(
    "first", ["import pipeline.run", "from pipeline.run import Result", "import pipeline.cli", "pass"]
)
def test_run_can_be_called_whatever_was_imported_before(first):
    code = f"""
        {first}
        from pipeline import run
        import pipeline, pipeline.run
        for called in (run, pipeline.run, pipeline.run.run):
            try:
                called()
            except TypeError as error:
                assert "config" in str(error)
    """
    python(code)


@pytest.mark.slow  # mypy reads everything that the package imports
def test_types_are_seen_from_outside(tmp_path):
    (tmp_path / "use.py").write_text(
        "from pipeline import Result, load_config, run\n"
        "result: Result = run(load_config('my.yaml'), break_lock=True)\n"
        "reveal_type(result.url)\n"
        "run(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", tmp_path, tmp_path / "use.py"],
        env=environment(MYPYPATH=str(ROOT)), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    own = [line for line in done.stdout.splitlines() if "use.py" in line]
    assert len(own) == 2, done.stdout
    assert "Revealed type is" in own[0]
    assert 'str"' in own[0]
    assert 'Argument 1 to "run" has incompatible type "int"' in own[1]


def test_the_lines_of_the_readme_run_in_a_script(tidy, golden, tmp_path):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings(tidy, tmp_path / "out")))
    python(
        """
        from pipeline import load_config, run
        result = run(load_config("my.yaml"))
        assert result.success.files > 0
        """,
        env=environment(tidy, PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
    )
    assert digest(tmp_path / "out") == golden


def test_formats_beside_the_configuration_are_found_from_python(tidy, tmp_path):
    (tmp_path / "beside_formats.py").write_text(
        "class Nothing:\n"
        "    name, needs_payload = 'nothing', False\n"
        "    def render(self, sample, catalog):\n"
        "        return ()\n"
        "    def manifests(self, catalog):\n"
        "        return ()\n"
    )
    values = settings(tidy, tmp_path / "out", formats=["beside_formats:Nothing"])
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    with environment_of(tidy.environment()):
        assert "nothing" in run(load_config(tmp_path / "my.yaml")).summary["formats"]


def test_it_runs_while_an_event_loop_runs_as_in_jupyter(tidy, golden, tmp_path):
    config = parse_config(yaml.safe_dump(settings(tidy, tmp_path / "out")))

    async def cell():
        return run(config)

    with environment_of(tidy.environment()):
        asyncio.run(cell())
    assert digest(tmp_path / "out") == golden


def test_two_threads_export_to_two_stores_at_once(tidy, golden, tmp_path, s3_server):
    """Each is at work while the other begins and ends."""
    places = [tmp_path / "out", s3_server.place()]
    trouble = []

    def work(config):
        try:
            run(config)
        except BaseException as error:
            trouble.append(error)
            raise

    configs = [parse_config(yaml.safe_dump(settings(tidy, place, run={"shard_size": 5}))) for place in places]
    with environment_of({**tidy.environment(), **dict(places[1].environment)}):
        threads = [threading.Thread(target=work, args=(config,)) for config in configs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert trouble == []
    assert [digest(place) for place in places] == [golden, golden]


def test_closing_one_session_does_not_touch_another(tidy, golden, tmp_path):
    """Of the same configuration, even: what is shared would be closed with the first."""
    values = settings(tidy, tmp_path / "out")
    export(tidy, tmp_path / "out")
    with environment_of(tidy.environment()):
        config = parse_config(yaml.safe_dump(values))
        with open_session(config) as one:
            with open_session(config) as other:
                assert other.workspace.storage is not one.workspace.storage
                assert other.workspace.client is not one.workspace.client
                assert other.workspace.source.count() == 60
            assert one.workspace.source.count() == 60
            assert read_success(one.workspace.storage).content
    assert digest(tmp_path / "out") == golden
