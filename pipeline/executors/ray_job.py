"""Where this process runs in Ray, if it does: as the driver of a submitted job, or in a worker."""

import json
import os
import sys
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


def is_connected() -> bool:
    """Tell whether this process is in a cluster already, as a worker is, or what Synapse runs on an agent."""
    # While another thread imports Ray, the module is there without its names.
    is_initialized: Any = getattr(sys.modules.get("ray"), "is_initialized", None)
    return is_initialized is not None and bool(is_initialized())
