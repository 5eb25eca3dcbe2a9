"""What a node logs on standard error."""

from __future__ import annotations

import logging
import sys

__all__ = ["log_to_stderr", "set_level"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_HOUSE = ("kathikon_actors", "kathikon")
_SUPERVISORS = "supervisors"


class _OneLine(logging.Formatter):
    """Gives an exception as one line; the whole traceback is for `--debug`."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and str(error) not in text:
            text += f": {type(error).__name__}: {error}"
        return text.partition("\n")[0]


def log_to_stderr(level: str, *, tracebacks: bool) -> None:
    """Log what the node says; an app that has set up logging while it was imported keeps its own handlers.

    Supervisors are heard from `set_level` on: until the node is ready, what kept it from starting is told once, as the
    command's own error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        tracebacks: show them, and everything from the beginning.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT) if tracebacks else _OneLine())
    logging.basicConfig(handlers=[handler])
    set_level(level)
    if not tracebacks and level != "debug":
        logging.getLogger(_SUPERVISORS).setLevel(logging.CRITICAL)


def set_level(level: str) -> None:
    """Log everything of this level and above."""
    for name in (*_HOUSE, _SUPERVISORS):
        logging.getLogger(name).setLevel(level.upper())
