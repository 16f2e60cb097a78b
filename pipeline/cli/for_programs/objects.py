"""Results of commands as plain values, which become one JSON object."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.commands.forecast import Forecast
from pipeline.commands.session import Result
from pipeline.config.export import ExportConfig
from pipeline.errors import ExportError


def error_object(error: ExportError) -> dict[str, Any]:
    """An error with its exit code, as ``plan`` tells what a run would end with."""
    message, hint = error.parts
    return {"code": error.code, "message": message, "hint": hint, "exit_code": error.exit_code}


def forecast_object(found: Forecast, config: ExportConfig) -> dict[str, Any]:
    """What ``plan`` found out about a run of ``config``."""
    values: dict[str, Any] = msgspec.to_builtins(
        {
            "name": config.name,
            "target": config.target,
            "project": found.project_title,
            "url": found.url,
            "state": found.state,
            "records": found.records,
            "shards": found.shards,
            "executor": found.executor,
            "sampled": found.sampled,
            "classes": found.classes,
            "splits": found.splits,
            "books": found.ledger,
            "read": found.read,
            "written": found.written,
            "unknown_originals": found.unknown_originals,
            "warnings": found.warnings,
        }
    )
    return {
        **values,
        "mistakes": [error_object(error) for error in found.mistakes],
        "obstacles": [error_object(error) for error in found.obstacles],
        "exit_code": found.exit_code,
    }


def result_object(
    result: Result, config: ExportConfig, *, seconds: float, messages: Sequence[str], following: Sequence[str]
) -> dict[str, Any]:
    """How ``run`` or ``retry-failed`` ended.

    ``seconds`` is how long it took, ``messages`` are the lines that it showed, ``following`` the commands to run next.
    """
    success, summary = result.success, result.summary
    return {
        "type": "result",
        "name": config.name,
        "url": result.url,
        "already_finished": result.already_finished,
        "run_id": success.run_id,
        "finished": success.finished,
        "content": success.content,
        "files": success.files,
        "seconds": round(seconds, 3),
        "failed_records": success.ledger.failed_records,
        "books": msgspec.to_builtins(success.ledger),
        "classes": [{key: entry[key] for key in ("id", "name", "objects")} for entry in summary.get("classes", [])],
        "splits": summary.get("splits", {}),
        "warnings": summary.get("warnings", []),
        "messages": list(messages),
        "how_to_read": summary.get("how_to_read", {}),
        "next": list(following),
    }
