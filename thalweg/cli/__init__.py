"""The command line: thalweg train | evaluate | predict | runs."""

from thalweg.cli.app import main

__all__ = ["main"]
