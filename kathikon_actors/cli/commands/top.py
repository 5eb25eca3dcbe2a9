"""`top`: how the work stands, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.commands.tree import is_reachable
from kathikon_actors.cli.seconds import Seconds
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["top"]

_QUEUES = ("queue", "on", "waiting", "later", "running", "done", "dead", "jobs/s", "oldest", "wait p50", "p99",
           "run p50", "p99")  # fmt: skip
_WORKERS = ("worker", "completed", "cancelled", "discarded", "retried", "jobs/s", "last error")
_LATER = ("scheduled", "retryable", "blocked", "waiting")
_WIDEST_ERROR = 50


@click.command()
@click.option("--interval", type=Seconds(0.1), default=1.0, show_default=True, metavar="SECONDS")
@click.option("--times", type=click.IntRange(min=1), help="Looks; default: until Ctrl-C on a terminal, else one.")
@click.option("--node", metavar="NAME", help="What this node of this machine says from its memory.")
@common_options
@click.pass_obj
def top(session: Session, interval: float, times: int | None, node: str | None) -> None:
    """Show queues and workers: what waits, what runs, how fast, how long.

    Of all nodes, as they told the store (every 10 s) and as it is committed; with --node live from that node's memory.
    """
    on_terminal = sys.stdout.isatty() and not session.output.json
    if times is None and not on_terminal:
        times = 1
    looks = _looks(session, interval, times, node)
    if on_terminal and _live(looks):
        return
    for number, report in enumerate(looks):
        if session.output.json:
            session.output.event(report)
            continue
        if number:
            session.output.line("")
        session.output.table(_QUEUES, [_queue(queue) for queue in report["queues"]])
        session.output.line("")
        session.output.table(_WORKERS, [_worker(worker) for worker in report["workers"]])


def _looks(session: Session, interval: float, times: int | None, node: str | None) -> Iterator[dict[str, Any]]:
    done = 0
    while True:
        yield _look(session, node)
        done += 1
        if times is not None and done >= times:
            return
        time.sleep(interval)


def _look(session: Session, node: str | None) -> dict[str, Any]:
    if node is not None:
        from kathikon_actors.cli.node_socket import ask_all
        from kathikon_actors.jobs.errors import NoNode

        try:
            live: dict[str, Any] = ask_all(session.url, "report", node)[0]
        except NoNode:
            if is_reachable(session.url):
                run_async(_check_lives, session, node)
            raise
        return live
    report: dict[str, Any] = run_async(_report, session)
    return report


async def _check_lives(session: Session, name: str) -> None:
    """Raise `UnknownNode` unless a node of this name lives on the store, on whatever machine."""
    from kathikon_actors.jobs.errors import UnknownNode

    async with open_client(session.url) as client:
        living = [node.name for node in await client.nodes() if node.alive]
    if name not in living:
        raise UnknownNode(name, living)


async def _report(session: Session) -> dict[str, Any]:
    async with open_client(session.url) as client:
        return (await client.report()).to_dict()


def _live(looks: Iterator[dict[str, Any]]) -> bool:
    """Show it in place; tell whether rich is there to do so."""
    try:
        from rich.live import Live
    except ImportError:
        return False
    with Live(auto_refresh=False, screen=False) as live:
        for report in looks:
            live.update(_drawn(report), refresh=True)
    return True


def _drawn(report: dict[str, Any]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from kathikon_actors.cli.output import printable

    tables = []
    for headers, rows in (
        (_QUEUES, [_queue(queue) for queue in report["queues"]]),
        (_WORKERS, [_worker(worker) for worker in report["workers"]]),
    ):
        table = Table(*headers, box=SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(printable(str(cell))) for cell in row))
        tables.append(table)
    return Group(Text(f"{report['at']}  dead letters: {report['dead_letters']}"), *tables)


def _queue(queue: dict[str, Any]) -> tuple[object, ...]:
    by = queue["by_state"]
    return (
        queue["name"],
        "paused" if queue["paused"] else ", ".join(queue["nodes"]) or "nowhere",
        by.get("available", 0),
        sum(by.get(state, 0) for state in _LATER),
        by.get("executing", 0),
        by.get("completed", 0) + by.get("cancelled", 0),
        by.get("discarded", 0),
        f"{queue['throughput']:.1f}",
        _seconds(queue["oldest_waiting"]),
        *(_seconds(queue[what][share]) for what in ("wait", "run") for share in ("p50", "p99")),
    )


def _worker(worker: dict[str, Any]) -> tuple[object, ...]:
    error = worker["last_error"]
    words = "" if error is None else f"{error['kind']}: {error['message']}"
    return (
        worker["name"],
        worker["completed"],
        worker["cancelled"],
        worker["discarded"],
        worker["failed_attempts"],
        f"{worker['throughput']:.1f}",
        words if len(words) <= _WIDEST_ERROR else words[: _WIDEST_ERROR - 3] + "...",
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"
