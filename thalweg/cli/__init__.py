"""The command line, thalweg: its subcommands, and what they share."""

from thalweg.cli.entry import main

__all__ = ["main"]
