"""The export as an action of the Synapse SDK: the platform's parameters in, progress and messages to its own pages."""

import json
import os
import re
import time
from typing import Any

from synapse_sdk.plugins.actions.export import BaseExportAction, ExportParams
from synapse_sdk.plugins.context import RuntimeContext
from synapse_sdk.plugins.models.logger import LogLevel

try:
    from pipeline.cli.job import plain
    from pipeline.config import ExportConfig, parse_config
    from pipeline.errors import ConfigError, ExportError
    from pipeline.progress import Tally, describe
    from pipeline.run import Result, run
except ModuleNotFoundError as error:
    if error.name != "pipeline":
        raise
    raise ModuleNotFoundError(
        "this plugin folder is not complete: scripts/bundle_plugin -o DIR makes one that has the package in it",
        name="pipeline",
    ) from error

STEPS = {"plan": 5, "extract": 40, "catalog": 3, "render": 40, "merge": 7, "publish": 5}
"""The stages of a run, and how much of the whole each one is, in percent."""

DEFAULT_FORMATS = ["coco"]
_PLATFORM = ("name", "description", "target", "filter", "storage", "path", "save_original_file")
_KEYS = {"format", *ExportConfig.model_fields} - {*_PLATFORM, "extra_params", "storage_options"}
TRUST_VARIABLE = "SYNAPSE_EXPORT_TRUST_PARAMETERS"
"""Set to 1 by the owner of the machine where whoever runs the plugin may also import code and read files there."""

_SECRET_NAME = re.compile("TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL")
_SHORTEST_SECRET = 8
_SECONDS_BETWEEN_UPDATES = 1.0


class ExportAction(BaseExportAction[ExportParams]):
    """Exports to the storage that the platform's parameters name; ``extra_params`` is :func:`export_config`'s."""

    action_name = "export"
    params_model = ExportParams

    def execute(self) -> dict[str, Any]:
        """Run the export; returns its counts and where it is. Raises an ExportError, after saying it to the user."""
        try:
            result = run(export_config(self.params), listener=ContextListener(self.ctx))
        except ExportError as error:
            self.ctx.log_message(plain(str(error)), LogLevel.ERROR)
            raise
        for warning in result.summary.get("warnings", []):
            self.ctx.log_message(plain(warning), LogLevel.WARNING)
        told = counts(result)
        self.ctx.set_metrics({"success": told["exported_count"], "failed": told["failed_count"]}, "publish")
        done = "was complete already" if result.already_finished else "complete"
        self.ctx.log_message(
            plain(f"{done}: {told['exported_count']:,} of {told['total_count']:,} records in {told['output_path']}"),
            LogLevel.SUCCESS,
        )
        return told


def export_config(params: ExportParams) -> ExportConfig:
    """The configuration that the platform's parameters describe.

    ``extra_params`` holds the other keys of a configuration (``formats``, ``split``, ``classes``, ``run`` …), and
    options of formats by their names, as ``extra_params`` of a configuration does. Raises ConfigError.
    """
    extra = dict(params.extra_params or {})
    own = {key: extra.pop(key) for key in list(extra) if key in _KEYS}
    if not {"format", "formats"} & own.keys():
        own["formats"] = DEFAULT_FORMATS
    values = {key: getattr(params, key) for key in _PLATFORM}
    values["description"] = values["description"] or ""
    text = json.dumps({**values, **own, "extra_params": extra})
    _refuse_variables(text)
    config = parse_config(text, source="parameters")
    if os.environ.get(TRUST_VARIABLE) != "1":
        _refuse_reach(config)
    return config


def _refuse_reach(config: ExportConfig) -> None:
    """Raise ConfigError for parameters by which whoever fills in a form reaches into the machine that runs the job:
    code to import, files of its disk, addresses of its network, another cluster.
    """
    reaches = {
        "formats": [entry.name for entry in config.formats if ":" in entry.name],
        "split.file": [config.split.file] if config.split.file else [],
        "classes.lock": [config.classes.lock] if config.classes.lock else [],
        "run.file_hosts": list(config.run.file_hosts),
        "run.address": [config.run.address] if config.run.address else [],
    }
    for key, found in reaches.items():
        if found:
            raise ConfigError(
                "parameters",
                key,
                f"{found[0]!r} reaches into the machine that runs this; its owner allows that with {TRUST_VARIABLE}=1",
            )


def _refuse_variables(text: str) -> None:
    """Raise ConfigError for parameters that name variables, or hold what Ray has already made of one.

    A file's author owns the environment it names; who fills in a form on the platform does not. Ray replaces
    ``${NAME}`` in the variable that the SDK passes parameters in, so a secret may be here in full: no further.
    """
    if "${" in text:
        raise ConfigError("parameters", "${…} is not replaced here; write the value itself")
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET and value in text:
            raise ConfigError("parameters", f"they hold the value of {name}; ${{…}} must not name a secret")


def counts(result: Result) -> dict[str, Any]:
    """What the platform is told of a finished export: plain values, under the names its own exports use."""
    ledger = result.success.ledger
    return {
        "exported_count": ledger.records.written,
        "failed_count": ledger.failed_records,
        "total_count": ledger.records.seen,
        "output_path": result.url,
        "run_id": result.success.run_id,
        "content": result.success.content,
        "formats": {
            name: {"images": books.samples.written, "annotations": books.annotations.written}
            for name, books in ledger.formats.items()
        },
    }


class ContextListener:
    """Shows progress through the SDK's runtime context: a bar per stage, metrics, and a message when one is done."""

    def __init__(self, context: RuntimeContext) -> None:
        self._context = context
        self._updated = 0.0
        # Only the logger that reports to the platform weighs steps; the one that prints has no such method.
        weigh = getattr(context.logger, "set_step_proportions", None)
        if weigh is not None:
            weigh(STEPS)

    def update(self, tally: Tally) -> None:
        """Move the stage's bar, once a second at most: each update may be a request."""
        now = time.monotonic()
        if tally.done <= tally.resumed or now - self._updated >= _SECONDS_BETWEEN_UPDATES:
            self._updated = now
            self._show(tally)

    def finish(self, tally: Tally) -> None:
        """Fill the stage's bar."""
        self._show(tally)
        self._context.log_message(plain(f"{describe(tally)}, {tally.seconds:.1f} s"), step=tally.stage)

    def message(self, text: str) -> None:
        """A line for the user."""
        self._context.log_message(plain(text))

    def close(self) -> None:
        """Nothing to close: the logger is the SDK's."""

    def _show(self, tally: Tally) -> None:
        if tally.total > 0:
            self._context.set_progress(min(tally.done, tally.total), tally.total, tally.stage)
        if tally.unit == "records":
            failed = tally.failures
            self._context.set_metrics({"success": max(tally.done - failed, 0), "failed": failed}, tally.stage)
