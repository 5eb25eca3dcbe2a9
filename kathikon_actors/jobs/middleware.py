"""Middleware: what runs around `perform`, and the checks of its declaration.

A middleware is `async def m(job, call_next)`. It may look before and after, give another outcome, raise, or not call
`call_next` at all:

    async def timed(job: Job, call_next: CallNext) -> object:
        begun = time.monotonic()
        try:
            return await call_next(job)
        finally:
            job.log.info("took %.3f s", time.monotonic() - begun)

The app's chain comes first, then the worker's, then `perform`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.record import Job

__all__ = ["CallNext", "Chain", "Middleware", "check_middleware"]

CallNext = Callable[[Job], Awaitable[object]]
"""Runs the rest of the chain; gives what `perform` returned, or raises what it raised."""

Middleware = Callable[[Job, CallNext], Awaitable[object]]
"""Takes a job and the rest of the chain; gives its own outcome or that of the rest. What it raises is a failure."""


def check_middleware(whose: str, value: object) -> tuple[Middleware, ...]:
    """Give a list of middleware as it was declared.

    Raises:
        BadConfiguration: naming whose it is and what is wrong with it.
    """
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise BadConfiguration(f"{whose}: middleware is {value!r}; give a list of async functions (job, call_next)")
    chain: tuple[Any, ...] = tuple(value)
    for middleware in chain:
        call = middleware if inspect.isroutine(middleware) else getattr(middleware, "__call__", None)  # noqa: B004 bound
        if not inspect.iscoroutinefunction(call):
            raise BadConfiguration(f"{whose}: middleware {middleware!r} is no async function of (job, call_next)")
        try:
            inspect.signature(middleware).bind(None, None)
        except TypeError:
            raise BadConfiguration(
                f"{whose}: middleware {getattr(middleware, '__name__', middleware)!r} does not take (job, call_next)"
            ) from None
    return chain


class Chain:
    """A chain of middleware with `perform` at its end, called with the job and the arguments by name.

    Args:
        middleware: outermost first.
        perform: the worker.
        takes_job: whether it wants the job first.
    """

    def __init__(self, middleware: tuple[Middleware, ...], perform: Callable[..., Any], *, takes_job: bool) -> None:
        self._middleware = middleware
        self._perform = perform
        self._takes_job = takes_job

    async def __call__(self, job: Job, /, **args: Any) -> object:
        """Run the chain for one job."""
        return await self._step(0, job, args)

    async def _step(self, index: int, job: Job, args: dict[str, Any]) -> object:
        if index == len(self._middleware):
            value = self._perform(job, **args) if self._takes_job else self._perform(**args)
            return await value if inspect.iscoroutine(value) else value

        async def call_next(given: Job = job) -> object:
            return await self._step(index + 1, given, args if given is job else given.args)

        return await self._middleware[index](job, call_next)
