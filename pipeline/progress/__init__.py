"""Progress as events; the screen on a terminal and the lines in a log are listeners.

Stages report what happened; listeners decide what to show. Nothing here can fail an export.
"""

import warnings
from typing import Any

from pipeline.progress.reporter import Listener, Reporter, Silence, ticker, trouble
from pipeline.progress.tally import STAGES, Snapshot, StageSnapshot, Tally, Whole
from pipeline.progress.text import Lines, clock, describe, printable, to_go

__all__ = [
    "STAGES",
    "Lines",
    "Listener",
    "Reporter",
    "Silence",
    "Snapshot",
    "StageSnapshot",
    "Tally",
    "Whole",
    "clock",
    "describe",
    "printable",
    "ticker",
    "to_go",
    "trouble",
]


def __getattr__(name: str) -> Any:
    if name == "Bar":
        from pipeline.progress.screen import Screen  # noqa: PLC0415  rich costs more than a log needs

        warnings.warn("pipeline.progress.Bar is now pipeline.progress.screen.Screen", DeprecationWarning, stacklevel=2)
        return Screen
    raise AttributeError(f"module 'pipeline.progress' has no attribute {name!r}")
