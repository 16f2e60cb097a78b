"""Export Synapse annotation data, in parallel and at any scale, as datasets that train models without a fix.

>>> from pipeline import load_config, run
>>> result = run(load_config("my.yaml"))

The names below are public, as are :mod:`pipeline.run`, :mod:`pipeline.config`, :mod:`pipeline.records`,
:mod:`pipeline.errors`, :mod:`pipeline.reasons`, :mod:`pipeline.progress`, :mod:`pipeline.formats`,
:mod:`pipeline.formats.images` and :mod:`pipeline.formats.testing`. Everything else may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.commands.forecast import Forecast, forecast
    from pipeline.commands.retry_failed import retry_failed
    from pipeline.commands.verify import verify
    from pipeline.config import ExportConfig, load_config, parse_config
    from pipeline.errors import ExportError
    from pipeline.run import Result, run

__all__ = [
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

# Where each public name is. It is imported when it is first used: the heavy libraries take longer than many commands.
_HOMES = {
    "ExportConfig": "pipeline.config",
    "ExportError": "pipeline.errors",
    "Forecast": "pipeline.commands.forecast",
    "Result": "pipeline.run",
    "forecast": "pipeline.commands.forecast",
    "load_config": "pipeline.config",
    "parse_config": "pipeline.config",
    "retry_failed": "pipeline.commands.retry_failed",
    "run": "pipeline.run",
    "verify": "pipeline.commands.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
