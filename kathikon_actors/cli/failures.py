"""From an exception to the one sentence that the user reads."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.cli.output import Output

__all__ = ["leaf_of", "place_of", "sentence_of", "tell_failures"]

_HOUSE = tuple(str(Path(__file__).parents[2] / name) for name in ("kathikon_actors", "supervisors"))
_LIBRARY = (sysconfig.get_path("stdlib"), "<frozen")
_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def leaf_of(error: BaseException) -> BaseException:
    """Give the error to report: of a group the interrupt, else the first that was raised on purpose, else the first."""
    leaves = list(_leaves(error))
    for kind in (KeyboardInterrupt, _own_errors()):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def sentence_of(error: BaseException) -> str:
    """Give what went wrong on one line: first line and, where there are more, the one that names the cause."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, _own_errors()) and lines:
        if len(lines) == 1:
            return lines[0]
        cause = next((line for line in reversed(lines[1:]) if "FATAL" in line), lines[-1])
        return f"{lines[0].rstrip(':')}: {cause} (--debug shows more)"
    place = place_of(error)
    text = ": ".join([type(error).__name__, *lines[:1]])
    return f"{text}{f' ({place})' if place else ''}; run it again with --debug for the traceback"


def tell_failures(output: Output, errors: Sequence[BaseException], *, any_done: bool) -> int:
    """Say of each part of a command what kept it from being done; give the exit code of the whole."""
    for error in errors:
        output.say(f"error: {sentence_of(error)}")
    if not errors:
        return ExitCode.OK
    return ExitCode.PARTLY_FAILED if any_done else exit_code_of(errors[0])


def place_of(error: BaseException) -> str:
    """Give `file:line` of the innermost code that is neither Python's own nor ours, or an empty string."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_HOUSE)
        and (frame.filename.startswith(_INSTALLED) or not frame.filename.startswith(_LIBRARY))
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _own_errors() -> tuple[type[BaseException], ...]:
    from kathikon_actors.jobs.errors import KathikonError

    # Whoever raised an error of supervisors has imported it; nobody else should pay for that.
    supervision = getattr(sys.modules.get("supervisors"), "SupervisionError", None)
    return (KathikonError,) if supervision is None else (KathikonError, supervision)
