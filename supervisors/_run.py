"""A supervisor as a whole program: signals stop it in order."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import Unpack

import trio

from supervisors._exits import ExitReason, Shutdown
from supervisors._facade import opened
from supervisors._static import Children, StaticEngine
from supervisors._supervisor import Supervisor, SupervisorOptions

__all__ = ["run_supervisor"]


async def run_supervisor(children: Children, **options: Unpack[SupervisorOptions]) -> ExitReason:
    """Run a supervisor until it ends; SIGINT (Ctrl-C) and SIGTERM stop it in order, a second one at once.

    Call it in the main thread, as the last thing a program does. A second signal kills every child that is left; only
    one that ignores its cancellation can hold the end up.

    Args:
        children: as for `open_supervisor`.
        options: as for `open_supervisor`.

    Returns:
        The exit reason; `Shutdown("SIGTERM")` names the signal that ended it.

    Raises:
        FailedToStart, RestartLimitReached, InvalidSpec: as `open_supervisor`.

    Example:
        trio.run(run_supervisor, [ChildSpec("server", serve)])
    """
    engine = StaticEngine(children, **options)
    raised: BaseException | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, engine)
            try:
                async with opened(engine, Supervisor(engine)) as supervisor:
                    await supervisor.wait()
            except BaseException as exc:
                # Raised again outside the nursery, which would wrap it in a group.
                raised = exc
            nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return engine.exit_reason or Shutdown()


async def _obey(signals: AsyncIterator[int], engine: StaticEngine) -> None:
    number = await anext(signals)
    engine.end(Shutdown(signal.Signals(number).name))
    async for _ in signals:
        engine.kill()
