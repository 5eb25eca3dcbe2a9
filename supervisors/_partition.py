"""The partition supervisor: N copies of one child, and a stable way from a key to one of them."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from supervisors._errors import ChildRestarting, InvalidSpec, SupervisionError
from supervisors._facade import AnySupervisor, opened, supervise
from supervisors._specs import BrutalKill, ChildSpec, Restart
from supervisors._static import StaticEngine

__all__ = [
    "NoPartitions",
    "PartitionSupervisor",
    "open_partition_supervisor",
    "partition_of",
    "partition_supervisor_spec",
]


class NoPartitions(SupervisionError):
    """A key cannot be routed: the supervisor was resized to 0 partitions."""

    def __init__(self) -> None:
        super().__init__("there are no partitions: resize to 1 or more")


def _stable_bytes(key: object) -> bytes:
    match key:
        case str():
            return b"s" + key.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case bool() | int() | float() | None:
            return repr(key).encode()
        case tuple() | frozenset():
            parts = [_stable_bytes(one) for one in key]
            if isinstance(key, frozenset):
                parts.sort()
            return type(key).__name__.encode() + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        case _:
            raise InvalidSpec("key", key, "an int, str, bytes, float, bool, None, or a tuple or frozenset of those")


def partition_of(key: object, partitions: int) -> int:
    """Return the partition of `key` among `partitions`: the same in every process and on every day.

    An int goes to `abs(key) mod partitions`, anything else by the CRC-32 of its value (Python's own `hash` of a string
    differs from run to run).

    Example:
        >>> partition_of(-7, 4)
        3
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return abs(key) % partitions
    return zlib.crc32(_stable_bytes(key)) % partitions


class PartitionSupervisor(AnySupervisor[StaticEngine]):
    """A running partition supervisor, from `open_partition_supervisor`."""

    __slots__ = ("_initial", "_size")

    def __init__(self, engine: StaticEngine, partitions: int) -> None:
        super().__init__(engine)
        self._initial = partitions
        self._size = partitions

    @property
    def partitions(self) -> int:
        """How many partitions keys are spread over now."""
        return self._size

    def partition(self, key: object) -> int:
        """Return the number of the partition that `key` goes to.

        Raises:
            NoPartitions: there is none.
        """
        if self._size == 0:
            raise NoPartitions
        return partition_of(key, self._size)

    def route(self, key: object) -> Any:
        """Return the started info of the partition that `key` goes to.

        Raises:
            ChildRestarting: that partition is down just now.
            NoPartitions: there is none.
        """
        number = self.partition(key)
        child = self._engine.find(number)
        if child.state != "running":
            raise ChildRestarting(number)
        return child.info

    async def resize(self, partitions: int) -> int:
        """Stop the partitions from `partitions` up, or start them again; returns the old number.

        Raises:
            InvalidSpec: fewer than 0, or more than there were at first.
        """
        if not isinstance(partitions, int) or isinstance(partitions, bool) or not 0 <= partitions <= self._initial:
            raise InvalidSpec("partitions", partitions, f"0 to {self._initial}, the number it was opened with")
        old, engine = self._size, self._engine
        if partitions < old:
            self._size = partitions
        for number in range(old - 1, partitions - 1, -1):
            await engine.ask(engine.terminate_child, number)
        for number in range(old, partitions):
            await engine.ask(engine.restart_child, number)
            self._size = number + 1
        return old


@asynccontextmanager
async def open_partition_supervisor(
    spec: ChildSpec,
    partitions: int | None = None,
    *,
    with_arguments: Callable[[tuple[object, ...], int], Sequence[object]] | None = None,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    name: str | None = None,
    kill_timeout: float = 1.0,
) -> AsyncIterator[PartitionSupervisor]:
    """Run `partitions` copies of one child, with the ids 0 to `partitions` - 1, under one_for_one.

    A restarted partition keeps its number, so that a key stays where it was.

    Args:
        spec: the child; its id is replaced by the number.
        partitions: how many; None for one a processor.
        with_arguments: makes the arguments of each copy from the spec's and its number.
        max_restarts: as for `open_supervisor`.
        max_seconds: as for `open_supervisor`.
        name: as for `open_supervisor`.
        kill_timeout: as for `open_supervisor`.

    Raises:
        InvalidSpec, FailedToStart, RestartLimitReached: as `open_supervisor`.

    Example:
        async with open_partition_supervisor(ChildSpec("cache", cache), 4) as caches:
            cache = caches.route("user:17")
    """
    count = (os.cpu_count() or 1) if partitions is None else partitions
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InvalidSpec("partitions", partitions, "a whole number, 1 or more, or None")
    specs = []
    for number in range(count):
        args = spec.args if with_arguments is None else with_arguments(spec.args, number)
        if not isinstance(args, (list, tuple)):
            raise InvalidSpec("with_arguments", args, "a function that returns a list or tuple of arguments")
        specs.append(replace(spec, id=number, args=tuple(args)))
    engine = StaticEngine(
        specs, name=name, max_restarts=max_restarts, max_seconds=max_seconds, kill_timeout=kill_timeout
    )
    async with opened(engine, PartitionSupervisor(engine, count)) as supervisor:
        yield supervisor


def partition_supervisor_spec(
    id: object,  # noqa: A002
    spec: ChildSpec,
    partitions: int | None = None,
    *,
    with_arguments: Callable[[tuple[object, ...], int], Sequence[object]] | None = None,
    restart: Restart = "permanent",
    shutdown: float | BrutalKill | None = math.inf,
    significant: bool = False,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    name: str | None = None,
    kill_timeout: float = 1.0,
) -> ChildSpec:
    """Return the spec of a partition supervisor as a child of another; its started info is the `PartitionSupervisor`.

    Args:
        id: the child's id; also the last part of the supervisor's name.
        spec: as for `open_partition_supervisor`.
        partitions: see there.
        with_arguments: see there.
        restart: as for any child.
        shutdown: seconds for all partitions to stop; infinite unless you know better.
        significant: as for any child.
        max_restarts: as for `open_supervisor`, like all that follow.
        max_seconds: see there.
        name: see there.
        kill_timeout: see there.

    Example:
        partition_supervisor_spec("caches", ChildSpec("cache", cache), 4)
    """
    options = {
        "with_arguments": with_arguments,
        "max_restarts": max_restarts,
        "max_seconds": max_seconds,
        "name": name,
        "kill_timeout": kill_timeout,
    }
    return ChildSpec(
        id,
        supervise,
        args=(open_partition_supervisor, (spec, partitions), options),
        restart=restart,
        shutdown=shutdown,
        type="supervisor",
        significant=significant,
    )
