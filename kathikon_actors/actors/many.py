"""One call to many actors at once (OTP's multi_call)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import trio

from kathikon_actors.actors.errors import ActorError

if TYPE_CHECKING:
    from kathikon_actors.actors.actor import Actor
    from kathikon_actors.actors.ref import ActorRef

__all__ = ["CallResults", "call_many"]

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CallResults(Generic[R]):
    """What `call_many` gives.

    Attributes:
        replies: the results of those that answered, in the order of `refs`.
        failed: why the others did not, in that order too.
    """

    replies: dict[ActorRef[Any], R] = field(default_factory=dict)
    failed: dict[ActorRef[Any], Exception] = field(default_factory=dict)


@overload
async def call_many(
    refs: Iterable[ActorRef[A]],
    method: Callable[Concatenate[A, P], Awaitable[R]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> CallResults[R]: ...


@overload
async def call_many(  # type: ignore[valid-type] # PEP 612 has no way to add a parameter of our own
    refs: Iterable[ActorRef[A]],
    method: Callable[Concatenate[A, P], Awaitable[R]],
    /,
    *args: P.args,
    timeout: float,  # pyright: ignore[reportGeneralTypeIssues] # as above; callers are checked all the same
    **kwargs: P.kwargs,
) -> CallResults[R]: ...


async def call_many(  # type: ignore[misc] # a method's own `timeout` parameter cannot be given by name
    refs: Iterable[ActorRef[Any]],
    method: Callable[..., Awaitable[Any]],
    /,
    *args: Any,
    timeout: float = 5.0,
    **kwargs: Any,
) -> CallResults[Any]:
    """Call all of `refs` at the same time; one that fails spoils nothing.

    Args:
        refs: the actors; one named twice is called once.
        method: as for `ref.call`.
        *args: as for `ref.call`.
        timeout: seconds for each.
        **kwargs: as for `ref.call`.

    Example:
        totals = await call_many(counters, Counter.add, 1)
        print(sum(totals.replies.values()), totals.failed)
    """
    asked = list(dict.fromkeys(refs))
    replies: dict[ActorRef[Any], Any] = {}
    failed: dict[ActorRef[Any], Exception] = {}

    async def one(ref: ActorRef[Any]) -> None:
        try:
            replies[ref] = await ref.call(method, *args, timeout=timeout, **kwargs)
        except ActorError as error:
            failed[ref] = error

    async with trio.open_nursery() as nursery:
        for ref in asked:
            nursery.start_soon(one, ref)
    return CallResults(
        {ref: replies[ref] for ref in asked if ref in replies},
        {ref: failed[ref] for ref in asked if ref in failed},
    )
