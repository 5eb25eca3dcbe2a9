"""How the show is drawn: a live picture with rich on a terminal, plain lines when piped or without rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from kathikon_actors.cli.demo.score import Score
from kathikon_actors.jobs.errors import BadConfiguration
from supervisors import TreeNode

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from kathikon_actors.node.node import Node

__all__ = ["Picture", "open_picture"]

NEWS: Final = 9
"""Lines of news in the picture."""

LINE_EVERY: Final = 1.0
"""Seconds between two plain lines."""

WIDTH, HEIGHT = 110, 34
"""Of a recorded picture, in characters."""

_COLOURS: Final = {"running": "green", "restarting": "yellow", "stopped": "red", "unkillable": "red"}


class Picture(Protocol):
    """Something that shows how things are."""

    def draw(self, node: Node, score: Score, /) -> None:
        """Show it."""


@contextmanager
def open_picture(record: Path | None) -> Iterator[Picture]:
    """Give the best picture that this terminal takes.

    Args:
        record: also write the last picture there, as SVG.

    Raises:
        BadConfiguration: a recording needs rich.
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        if record is not None:
            raise BadConfiguration("--record needs rich; install kathikon-actors[cli]") from None
        yield _Lines()
        return
    live = None
    picture = _Rich(record)
    if sys.stdout.isatty():
        with Live(console=Console(), refresh_per_second=8, transient=False) as live:
            picture.show = live.update
            yield picture
    else:
        lines = _Lines()
        picture.also = lines.draw
        yield picture if record is not None else lines
    picture.save()


class _Lines:
    """One line a second."""

    def __init__(self) -> None:
        self._next = 0.0
        self._told = 0

    def draw(self, _node: Node, score: Score) -> None:
        for line in score.lines[self._told :]:
            print(line, flush=True)
        self._told = len(score.lines)
        if score.elapsed >= self._next:
            self._next = score.elapsed + LINE_EVERY
            print(
                f"{score.elapsed:5.1f} s  {score.inserted.total():,} inserted, {score.completed.total():,} completed, "
                f"{score.crashes} crashes, {score.restarts} restarts",
                flush=True,
            )


class _Rich:
    """Tree, queues, counters and news."""

    def __init__(self, record: Path | None) -> None:
        self._record = record
        self._last: RenderableType | None = None
        self.show: Any = None
        self.also: Any = None

    def draw(self, node: Node, score: Score) -> None:
        self._last = _render(node.tree(), node, score)
        if self.show is not None:
            self.show(self._last)
        if self.also is not None:
            self.also(node, score)

    def save(self) -> None:
        """Write the last picture, if that was asked for."""
        if self._record is None or self._last is None:
            return
        import io

        from rich.console import Console

        console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
        _print(console, self._last)
        console.save_svg(str(self._record), title="python -m kathikon_actors demo")


def _print(console: Console, what: RenderableType) -> None:
    console.print(what)


def _render(tree: TreeNode, node: Node, score: Score) -> RenderableType:
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    queues = Table(box=None, pad_edge=False)
    for title in ("queue", "inserted", "done", "failed runs", "processes"):
        queues.add_column(title, justify="left" if title == "queue" else "right")
    pids = node.worker_pids()
    for name in sorted(pids):
        queues.add_row(
            name,
            f"{score.inserted[name]:,}",
            f"{score.completed[name]:,}",
            str(score.failed[name]),
            str(len(pids[name])),
        )
    times = score.percentiles()
    counters = Table(box=None, show_header=False, pad_edge=False)
    counters.add_column()
    counters.add_column(justify="right")
    counters.add_row("crashes survived", str(score.crashes))
    counters.add_row("  killed by the show", str(score.kills.total()))
    counters.add_row("  killed by their job", str(score.suicides))
    counters.add_row("restarts", str(score.restarts))
    if times is not None:
        counters.add_row("recovery p50", f"{times[0] * 1000:.0f} ms")
        counters.add_row("recovery p99", f"{times[1] * 1000:.0f} ms")
    news = Text("\n".join(score.lines[-NEWS:]))
    left = Panel(_tree(tree), title=f"the tree, {score.elapsed:.0f} of {score.seconds:.0f} s")
    right = Group(
        Panel(queues, title="jobs"), Panel(counters, title="so far"), Panel(news, title="what died", height=NEWS + 2)
    )
    return Columns([left, right])


def _tree(tree: TreeNode) -> RenderableType:
    from rich.text import Text
    from rich.tree import Tree

    def label(at: TreeNode) -> Text:
        text = Text(str(at.id))
        text.append(f"  {at.state}", style=_COLOURS[at.state])
        if at.total_restarts:
            text.append(f"  {at.total_restarts}x", style="yellow")
        return text

    def grow(into: Tree, at: TreeNode) -> None:
        for child in at.children:
            grow(into.add(label(child)), child)

    root = Tree(label(tree))
    grow(root, tree)
    return root
