"""The command line: one module per noun; `_console` is the only code that prints."""

from ddtp.cli.app import main

__all__ = ["main"]
