"""`node APP`: run a node until a signal stops it."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.app_loading import load_app
from kathikon_actors.cli.logs import log_to_stderr, set_level
from kathikon_actors.cli.seconds import Seconds
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.stop_signals import StopSignals
from kathikon_actors.cli.store_session import run_async

if TYPE_CHECKING:
    from kathikon_actors.node.app import App
    from kathikon_actors.node.node import Node
    from supervisors import Supervisor

__all__ = ["node"]

_LONGEST = 100 * 86_400.0
"""Seconds: `open_node` takes no more."""

_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class _Options:
    name: str | None
    lease: float
    shutdown_timeout: float
    log_level: str


@click.command()
@click.argument("app")
@click.option("--name", help="The node's name on its store; a node started again under its name goes on with its jobs. "
              "Default: the host's name.")  # fmt: skip
@click.option("--lease", type=Seconds(1, _LONGEST), default=30.0, show_default=True, metavar="SECONDS",
              help="After so long a silence others may take the node's jobs.")  # fmt: skip
@click.option("--shutdown-timeout", type=Seconds(0, _LONGEST), default=25.0, show_default=True, metavar="SECONDS",
              help="What running jobs have to finish when the node stops.")  # fmt: skip
@click.option("-v", "--verbose", count=True, help="Log more: -v info, -vv debug.")
@click.option("--log-level", type=click.Choice(_LEVELS), help="What to log on standard error; default warning.")
@common_options
@click.pass_obj
def node(
    session: Session,
    app: str,
    name: str | None,
    lease: float,
    shutdown_timeout: float,
    verbose: int,
    log_level: str | None,
) -> None:
    """Run a node; APP is MODULE:ATTRIBUTE, such as shop:app.

    The first Ctrl-C or SIGTERM lets running jobs finish and stops; the second kills at once.
    """
    session.url  # noqa: B018 a wrong URL is told before the app is imported
    loaded = load_app(app)
    level = log_level or _LEVELS[max(0, 2 - verbose)]
    log_to_stderr(level, tracebacks=session.debug)
    run_async(_serve, session, loaded, app, _Options(name, lease, shutdown_timeout, level))


async def _serve(session: Session, app: App, where: str, options: _Options) -> None:
    import trio

    from kathikon_actors.node.opening import open_node
    from kathikon_actors.node.tuning import tune_gc

    output = session.output
    queues = ", ".join(f"{queue.name} ({queue.concurrency})" for queue in app.queues.values())
    output.say(f"node of {where}: store {session.url.safe}, queues {queues}")
    began = time.monotonic()
    token = trio.lowlevel.current_trio_token()
    running: list[Node] = []
    scope = trio.CancelScope()

    def stop(signal_name: str) -> None:
        busy = running[0].statistics().running if running else 0
        finish = f"{busy} running, with {options.shutdown_timeout:g} s to finish; " if busy else ""
        with suppress(OSError):
            os.write(2, f"{signal_name}: stopping; {finish}a second signal kills\n".encode())
        token.run_sync_soon(scope.cancel)

    with StopSignals(stop, lambda: _children(running)), scope:
        async with open_node(
            app,
            store=session.store,
            name=options.name,
            lease=options.lease,
            shutdown_timeout=options.shutdown_timeout,
        ) as opened:
            running.append(opened)
            set_level(options.log_level)
            tune_gc()
            if output.json:
                output.event(
                    {
                        "event": "ready",
                        "node": opened.name,
                        "pid": os.getpid(),
                        "store": session.url.safe,
                        "queues": list(app.queues),
                    }
                )
            output.say(f'node "{opened.name}" is ready after {time.monotonic() - began:.1f} s; Ctrl-C stops it')
            await trio.sleep_forever()
    if output.json:
        output.event({"event": "stopped", "node": running[0].name if running else options.name})
    output.say("stopped" if running else "stopped before it was ready")


def _children(running: list[Node]) -> Iterator[tuple[int, int]]:
    """Kill the worker processes and what they started; give the node's own children, each with what ends it at once."""
    if not running:
        return  # what is being started ends with this process, by the kernel
    for pid in itertools.chain.from_iterable(running[0].worker_pids().values()):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    root = running[0].supervisor
    zygote = _info(root, "zygote")
    if isinstance(zygote, int):
        yield zygote, signal.SIGKILL
    store: Any = _info(root, "store")
    server = None if store is None else _info(store, "server")
    if isinstance(server, int):
        yield server, signal.SIGQUIT


def _info(supervisor: Supervisor, child: str) -> object:
    from supervisors import ChildNotFound

    try:
        return supervisor.which_child(child).info
    except ChildNotFound:
        return None
