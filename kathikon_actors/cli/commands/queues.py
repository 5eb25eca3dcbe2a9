"""`queues [pause|resume|drain|scale]`: how each queue stands, and how it is to run on every node."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.failures import tell_failures
from kathikon_actors.cli.seconds import Seconds
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kathikon_actors.jobs.errors import KathikonError
    from kathikon_actors.node.queue_operations import QueueStatus

__all__ = ["queues"]


@click.group(invoke_without_command=True)
@common_options
@click.pass_context
def queues(context: click.Context) -> None:
    """Count jobs by queue and state, as they are committed; or change how queues run, on every node."""
    if context.invoked_subcommand is None:
        _show(context.ensure_object(Session))


def _show(session: Session) -> None:
    from kathikon_actors.jobs.states import STATES

    found = run_async(_list, session)
    output = session.output
    rows = [(queue, {state: queue.by_state.get(state, 0) for state in STATES}) for queue in found]
    if output.json:
        output.data(
            [
                {
                    "queue": queue.name,
                    "total": sum(by.values()),
                    "states": by,
                    "paused": queue.paused,
                    "removed": queue.removed,
                    "concurrency": queue.concurrency,
                    "nodes": queue.nodes,
                }
                for queue, by in rows
            ]
        )
    elif rows:
        output.table(
            ("queue", *STATES, "total", "runs"),
            [(queue.name, *by.values(), sum(by.values()), _runs(queue)) for queue, by in rows],
        )
    else:
        output.say("no jobs")


def _runs(queue: QueueStatus) -> str:
    if queue.removed:
        return "removed"
    nodes = ", ".join(f"{node} ({concurrency})" for node, concurrency in queue.nodes.items()) or "nowhere"
    return f"paused; {nodes}" if queue.paused else nodes


@queues.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@common_options
@click.pass_obj
def pause(session: Session, names: tuple[str, ...]) -> int:
    """Start nothing more of these queues, on any node, until they are resumed; what runs goes on."""
    return _change(session, "pause", names)


@queues.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@common_options
@click.pass_obj
def resume(session: Session, names: tuple[str, ...]) -> int:
    """Run these queues again, on every node."""
    return _change(session, "resume", names)


@queues.command()
@click.argument("name", metavar="QUEUE")
@click.argument("concurrency", type=click.IntRange(min=0, max=1024))
@common_options
@click.pass_obj
def scale(session: Session, name: str, concurrency: int) -> int:
    """Run so many jobs of a queue at once, on each node; 0 goes back to what the app declares."""
    return _change(session, "scale", (name,), concurrency or None)


@queues.command()
@click.argument("name", metavar="[QUEUE]", required=False)
@click.option("--timeout", type=Seconds(0, None), default=300.0, show_default=True, metavar="SECONDS")
@common_options
@click.pass_obj
def drain(session: Session, name: str | None, timeout: float) -> None:
    """Wait until nothing of a queue is due any more, also of what its jobs insert; without a name, of every queue."""
    run_async(_call, session, "drain", (name, timeout))
    if session.output.json:
        session.output.data({"drained": name})
    session.output.say(f"{'every queue' if name is None else name}: drained")


def _change(session: Session, action: str, names: tuple[str, ...], *more: Any) -> int:
    """Do it to each queue; one that cannot be changed does not stop the others."""
    done, failed, found = run_async(_change_all, session, action, names, more)
    output = session.output
    if output.json:
        changed = [
            {"queue": name, "paused": found[name].paused, "concurrency": found[name].concurrency}
            if name in found
            else {"queue": name, "paused": None, "concurrency": None}
            for name in done
        ]
        output.data([*changed, *({"queue": name, "error": str(error)} for name, error in failed)])
    for name in done:
        output.say(f"{name}: {action}{'d' if action.endswith('e') else 'ed'}")
    return tell_failures(output, [error for _, error in failed], any_done=bool(done))


async def _change_all(
    session: Session, action: str, names: tuple[str, ...], more: tuple[Any, ...]
) -> tuple[list[str], list[tuple[str, KathikonError]], dict[str, QueueStatus]]:
    from kathikon_actors.jobs.errors import KathikonError, StoreUnavailable

    done: list[str] = []
    failed: list[tuple[str, KathikonError]] = []
    async with open_client(session.url) as client:
        for name in names:
            try:
                await getattr(client, action)(name, *more)
            except KathikonError as error:
                failed.append((name, error))
            else:
                done.append(name)
        found: dict[str, QueueStatus] = {}
        if done and session.output.json:
            with suppress(StoreUnavailable):  # what was done is told all the same
                found = {queue.name: queue for queue in await client.queues()}
    return done, failed, found


async def _call(session: Session, action: str, arguments: tuple[Any, ...]) -> None:
    async with open_client(session.url) as client:
        await getattr(client, action)(*arguments)


async def _list(session: Session) -> Sequence[QueueStatus]:
    async with open_client(session.url) as client:
        return await client.queues()
