"""The command line: `python -m kathikon_actors`, or `kathikon`."""

from kathikon_actors.cli.group import main

__all__ = ["main"]
