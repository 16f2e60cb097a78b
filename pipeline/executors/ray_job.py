"""The submitted Ray job of which this process is the driver."""

import json
import os
from typing import Any

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def submitted_job() -> str:
    """Return the id of the submitted Ray job whose driver this process is, or ``""``."""
    try:
        told: Any = json.loads(os.environ.get(_JOB_VARIABLE, "{}"))
    except ValueError:
        return ""
    metadata = told.get("metadata") if isinstance(told, dict) else None
    return str(metadata.get("job_submission_id", "")) if isinstance(metadata, dict) else ""
