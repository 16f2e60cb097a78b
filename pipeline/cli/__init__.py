"""The command line: one module per command, and what they share to talk to a person or a program."""

from pipeline.cli.app import main

__all__ = ["main"]
