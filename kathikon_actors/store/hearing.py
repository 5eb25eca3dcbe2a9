"""Hears what the functions of the database do to jobs and batches: by notices, before the commit's answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import hear

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.telemetry.telling import Telling, Told

__all__ = ["Hearing"]

T = TypeVar("T")


class Hearing:
    """Of one connection; its session tells nothing while nobody listens.

    Args:
        telling: of the store.
        later: what was heard is told with its next `flush`.
    """

    def __init__(self, telling: Telling, *, later: bool) -> None:
        self._telling = telling
        self._later = later
        self._on: Raw | None = None
        self._told: Told | None = None

    async def run(self, raw: Raw, work: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        """Run `work(raw, *args)`, which ends every transaction that it begins; tell what it has done."""
        told = self._telling.begin()
        if told is None:
            if self._on is raw:
                self._on = None
                await raw.execute(statement("set_telling"), "off")
            return await work(raw, *args)
        if self._on is not raw:
            await raw.execute(statement("set_telling"), "on")
            raw.add_log_listener(self._hear)
            self._on = raw
        self._told = told
        try:
            with self._telling.collect(told, later=self._later):
                return await work(raw, *args)
        finally:
            self._told = None

    def _hear(self, _raw: object, message: Any) -> None:
        if self._told is not None:
            hear(self._told, message.message)
