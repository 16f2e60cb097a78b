"""The doctor: what a run needs, checked one by one, each with the command that repairs it.

:func:`examine` is the way in. The checks call what a run calls before its work, in the same order.
"""

from pipeline.commands.doctor.examination import Terminal
from pipeline.commands.doctor.report import Finding, Report, State
from pipeline.commands.doctor.rounds import CHECKS, examine, find_checks

__all__ = ["CHECKS", "Finding", "Report", "State", "Terminal", "examine", "find_checks"]
