"""Kill parts of running nodes at random while the user's own test goes on, by a seed that repeats it."""

from __future__ import annotations

import random
import secrets
import sys
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import trio

from kathikon_actors.node.node import Node
from kathikon_actors.node.opening import open_nodes
from kathikon_actors.testing.victims import check_kind, victims

__all__ = ["Chaos", "Strike"]

SHOWN: Final = 200
"""Strikes that a report lists, the last ones."""


@dataclass(frozen=True)
class Strike:
    """One kill.

    Attributes:
        after: seconds since the chaos began.
        kind: what was asked for.
        victim: what was hit; empty when nothing of that kind could be.
    """

    after: float
    kind: str
    victim: str


class Chaos:
    """A block in which something of a node dies every now and then.

    The seed decides what kind dies when, and which of those that are there: the same seed repeats a run as far as
    processes allow. A child whose supervisor would give up is spared. When the block ends by an exception, the seed
    and what was done are written to stderr and noted on the exception.

    Args:
        seed: any whole number; `None` takes a fresh one, to be read from `seed`.
        kill: kinds of victims: `"worker"`, `"zygote"`, `"postgres"` are processes and die by SIGKILL; names of the
            tree (`"producer"`, `"pool"`, `"queue"`, `"journal"`, `"table"`, `"scheduler"`, ...) by an exception.
        every: seconds between two kills, on the average.
        node: whose parts; `None` means every node that is open in this process.

    Raises:
        UnknownVictim: naming the nearest.
        ValueError: `every` is not above 0, or nothing is to be killed.

    Example:
        ```python
        async with open_node(app, store="embedded:./jobs") as node:
            async with Chaos(7, kill=["worker", "journal", "postgres"], every=0.5) as chaos:
                await my_own_test(node)
            print(chaos.report())
            (await audit(node)).check()
        ```
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        kill: Iterable[str] = ("worker", "producer", "journal"),
        every: float = 0.25,
        node: Node | None = None,
    ) -> None:
        self.seed: int = secrets.randbits(32) if seed is None else seed
        self.kinds: tuple[str, ...] = tuple(kill)
        for kind in self.kinds:
            check_kind(kind)
        if not self.kinds or not every > 0:
            raise ValueError(
                f"Chaos(kill={list(self.kinds)}, every={every!r}): give something to kill, and seconds above 0"
            )
        self.every = every
        self.strikes: list[Strike] = []
        self._node = node
        self._random = random.Random(self.seed)  # noqa: S311 a plan that can be repeated
        self._began = 0.0
        self._nursery: trio.Nursery | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    @property
    def kills(self) -> int:
        """How many things were killed so far."""
        return sum(bool(strike.victim) for strike in self.strikes)

    def report(self) -> str:
        """Give the seed and what was done, a line each."""
        lines = [f"chaos: seed {self.seed}, {self.kills} kills of {', '.join(self.kinds)}, one every {self.every:g} s"]
        if len(self.strikes) > SHOWN:
            lines.append(f"  ... {len(self.strikes) - SHOWN} earlier ones")
        lines += [f"  {s.after:8.3f} s  {s.victim or f'no {s.kind} to be hit'}" for s in self.strikes[-SHOWN:]]
        return "\n".join(lines)

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._began = trio.current_time()
        self._nursery.start_soon(self._strike_now_and_then, name="chaos")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        if isinstance(error, Exception):
            error.add_note(self.report())
            print(self.report(), file=sys.stderr)
            # The nursery ends without the error, so that it comes out as itself and not in a group.
            await self._manager.__aexit__(None, None, None)  # noqa: ASYNC102 ends at once, cancelled above
            return False
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102 likewise

    async def _strike_now_and_then(self) -> None:
        while True:
            # Everything is drawn in this order whatever is there to be hit, so that the seed means the same plan.
            pause = self.every * self._random.uniform(0.5, 1.5)
            kind = self._random.choice(self.kinds)
            share = self._random.random()
            await trio.sleep(pause)
            self._strike(kind, share)

    def _strike(self, kind: str, share: float) -> None:
        nodes = open_nodes() if self._node is None else [self._node]
        there = [victim for node in nodes for victim in victims(node, kind)]
        hit = ""
        if there:
            victim = there[int(share * len(there))]
            if victim.kill():
                hit = victim.name
        self.strikes.append(Strike(trio.current_time() - self._began, kind, hit))
