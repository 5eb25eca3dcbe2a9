"""An actor as a child in a tree of supervisors."""

# PEP 612 has no way to add parameters of our own to those of a class; callers are checked all the same.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from kathikon_actors.actors.actor import Actor
from kathikon_actors.actors.cell import link_cells
from kathikon_actors.actors.errors import NoActorSystem
from kathikon_actors.actors.host import run_process_actor
from kathikon_actors.actors.mailbox import Mailbox
from kathikon_actors.actors.recipe import Isolation, Recipe
from kathikon_actors.actors.snapshots.keeper import check_snapshot
from kathikon_actors.actors.snapshots.state import Snapshot
from kathikon_actors.actors.systems import current_system
from kathikon_actors.actors.task_cell import TaskCell
from supervisors import Backoff, ChildSpec, ExitReason, InvalidSpec, Probe, Shutdown, on_stop_request, self_pid

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem
    from supervisors._specs import BrutalKill, Restart

__all__ = ["actor_spec", "run_actor"]

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


def actor_spec(  # type: ignore[valid-type]
    cls: Callable[P, Actor],
    /,
    *args: P.args,
    id: object = None,  # noqa: A002
    name: str | None = None,
    isolation: Isolation = "task",
    restart: Restart = "permanent",
    shutdown: float | BrutalKill = 5.0,
    mailbox: Mailbox | None = None,
    snapshot: Snapshot | None = None,
    significant: bool = False,
    start_timeout: float | None = None,
    backoff: Backoff | None = None,
    child_intensity: tuple[int, float] | None = None,
    restart_if: Callable[[ExitReason], bool] | None = None,
    probe: Probe | None = None,
    system: ActorSystem | None = None,
    **kwargs: P.kwargs,
) -> ChildSpec:
    """Return an actor as a child for any tree of supervisors; its started info is its `ActorRef`.

    Args:
        cls: a class derived from `Actor`.
        *args: the arguments of its `__init__`, the same at every restart.
        id: the child's id; default is its name, or else the name of its class.
        name: the name it holds in its system; taken before `__init__` runs.
        isolation: "task", or "process": an operating system's process of its own.
        restart: as for any child.
        shutdown: seconds that it has for the messages before the stop request and for `terminate`; then it is killed.
        mailbox: a bound on what may wait for it.
        snapshot: when its state is kept, and how it is written; the actor needs a name, as its state goes by it.
        significant: as for any child, as are the next five.
        start_timeout: seconds that `__init__` and `init` may take.
        backoff: delays between restarts.
        child_intensity: a restart limit of its own.
        restart_if: asked before each restart.
        probe: asks whether it still works.
        system: where it lives; default is the system round the supervisor.
        **kwargs: the keyword arguments of its `__init__`.

    Raises:
        InvalidSpec: something is not legal; nothing was started.

    Example:
        async with open_actor_system(), open_supervisor([actor_spec(Counter, 10, name="counter")]):
            ...
    """
    if not (isinstance(cls, type) and issubclass(cls, Actor)):
        raise InvalidSpec("cls", cls, "a class derived from Actor")
    if name is not None and not isinstance(name, str):
        raise InvalidSpec("name", name, "a string or None")
    if isolation not in {"task", "process"}:
        raise InvalidSpec("isolation", isolation, "'task' or 'process'")
    if mailbox is not None and not isinstance(mailbox, Mailbox):
        raise InvalidSpec("mailbox", mailbox, "a Mailbox or None")
    if snapshot is not None:
        check_snapshot(cls, name, snapshot)
    recipe = Recipe(cls, args, kwargs, name, isolation, mailbox, system, None, snapshot)
    return ChildSpec(
        id if id is not None else name if name is not None else cls.__name__,
        run_actor,
        (recipe,),
        restart=restart,
        shutdown=shutdown,
        significant=significant,
        start_timeout=start_timeout,
        backoff=backoff,
        child_intensity=child_intensity,
        restart_if=restart_if,
        probe=probe,
    )


async def run_actor(recipe: Recipe, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    """Be one life of an actor, as the child of a supervisor."""
    system = recipe.system or current_system.get(None)
    if system is None:
        raise NoActorSystem
    if recipe.isolation == "process":
        await run_process_actor(system, recipe, task_status)
        return
    pid = self_pid()
    cell = TaskCell(system, system.new_uid(), recipe, pid.kill)
    pid.when_dead(cell.finish)
    await system.claim(cell)
    if recipe.parent is not None and recipe.parent.alive:
        link_cells(recipe.parent, cell)
    with on_stop_request(partial(cell.stop, Shutdown())):
        await cell.run(recipe, task_status)
