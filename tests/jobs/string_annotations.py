"""Workers whose annotations are strings, one of them known to type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kathikon_actors.jobs.record as kept
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.worker import worker

if TYPE_CHECKING:
    from decimal import Decimal

    from kathikon_actors.jobs.record import Job as Work


@worker
async def takes(task: Job, cents: int) -> None: ...


@worker
async def by_module(task: kept.Job, cents: int) -> None: ...


@worker
async def beside_unknown(task: Job, cents: Decimal) -> None: ...


@worker
async def unknown_but_named(job: kept.Missing.Job, cents: int) -> None: ...  # type: ignore[name-defined]


@worker
async def unknown_alias(job: Work, cents: int) -> None: ...


@worker
async def a_string(job: str, cents: int) -> None: ...
