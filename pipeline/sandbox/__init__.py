"""A local Synapse API on 127.0.0.1, for demonstrations, tests and benchmarks."""

from pipeline.sandbox.data import FORBIDDEN_PROJECT, OTHER_PROJECT, MediaTruth, RecordTruth
from pipeline.sandbox.faults import Fault, parse_fault
from pipeline.sandbox.instance import Sandbox
from pipeline.sandbox.nasty import EVERY_KIND_RECORDS, NASTY_KINDS
from pipeline.sandbox.nasty_payloads import UNPARSABLE_KINDS
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.scenes import Thing

__all__ = [
    "EVERY_KIND_RECORDS",
    "FORBIDDEN_PROJECT",
    "NASTY_KINDS",
    "OTHER_PROJECT",
    "UNPARSABLE_KINDS",
    "Fault",
    "MediaTruth",
    "RecordTruth",
    "Sandbox",
    "SandboxOptions",
    "Thing",
    "parse_fault",
]
