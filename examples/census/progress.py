"""Showing how far a run is, on standard error: a bar with rich in a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Show", "show_progress"]

Show = Callable[[int, int, str], None]
"""`(done, total, note)`."""

LINE_EVERY = 2.0
"""Seconds between two plain lines."""

DRAW_EVERY = 0.1
"""Seconds between two drawings of the bar."""


@contextmanager
def show_progress(what: str) -> Iterator[Show]:
    """Give the function to tell progress to; `what` says what is done."""
    if sys.stderr.isatty():
        try:
            import rich.progress  # noqa: F401 is it there?
        except ImportError:
            pass
        else:
            with _bar(what) as show:
                yield show
            return
    yield _lines(what)


def _lines(what: str) -> Show:
    last = time.monotonic()

    def show(done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY:
            last = now
            print(f"{what}: {done} of {total} files" + (f", {note}" if note else ""), file=sys.stderr, flush=True)

    return show


@contextmanager
def _bar(what: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    # Drawn from here and not by rich's thread: a node forks, and runs on one loop.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task(what, total=None, note="")
        drawn = 0.0

        def show(done: int, total: int, note: str) -> None:
            nonlocal drawn
            progress.update(task, completed=done, total=total, note=note)
            now = time.monotonic()
            if now - drawn >= DRAW_EVERY or done == total:
                drawn = now
                progress.refresh()

        yield show
