"""Faults that strike in a worker process: the node decides and counts, the process obeys for one run.

A run that is to be struck travels as a `SabotagedRun`, so that plain runs carry nothing and are looked at no longer
than before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from kathikon_actors import faults
from kathikon_actors.processes.messages import FaultOrder, Run, SabotagedRun

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.processes.execution import Executable

__all__ = ["run_of", "sabotaged"]


def run_of(seq: int, record: Record) -> Run:
    """Give the run of a record, with the faults that are to strike it. Only called when any are armed."""
    import cloudpickle  # type: ignore[import-untyped]

    orders = [
        FaultOrder(
            fault.point, fault.kill, fault.delay, None if fault.raises is None else cloudpickle.dumps(fault.raises)
        )
        for fault in faults.order(**faults.about(record))
    ]
    return SabotagedRun(seq, record, orders) if orders else Run(seq, record)


@contextmanager
def sabotaged(by_name: dict[str, Executable], run: SabotagedRun) -> Iterator[None]:
    """Have this run's worker called with its faults while the block picks it up."""
    name = run.record.worker
    executable = by_name.get(name)
    if executable is None:
        yield
        return
    struck = copy(executable)
    struck.call = _struck(executable, run.orders)
    by_name[name] = struck
    try:
        yield
    finally:
        by_name[name] = executable


def _struck(executable: Executable, orders: list[FaultOrder]) -> Any:
    import cloudpickle

    call = executable.call

    def strike(point: str) -> None:
        for order in orders:
            if order.point == point:
                if order.delay:
                    time.sleep(order.delay)  # the process itself stands still, as the fault would have it
                raises = None if order.raises is None else cloudpickle.loads(order.raises)
                faults.strike(faults.Fault(point, raises=raises, kill=order.kill))

    def run(*args: Any, **kwargs: Any) -> Any:
        strike("worker.before_perform")
        value = call(*args, **kwargs)
        strike("worker.before_result")
        return value

    async def run_async(*args: Any, **kwargs: Any) -> Any:
        strike("worker.before_perform")
        value = await call(*args, **kwargs)
        strike("worker.before_result")
        return value

    return run_async if executable.awaits else run
