"""Actors that keep their state, importable by other processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from kathikon_actors import Actor


@dataclass
class Total:
    value: int = 0
    names: list[str] = field(default_factory=list)


class Counter(Actor):
    """Adds up; its state is a dataclass."""

    def __init__(self) -> None:
        self.total = Total()

    def take_snapshot(self) -> Total:
        return self.total

    def restore_snapshot(self, state: Total) -> None:
        assert isinstance(state, Total)
        self.total = state

    async def add(self, by: int) -> int:
        self.total.value += by
        return self.total.value

    async def crash(self) -> None:
        raise ValueError("broken")


class Choosy(Counter):
    """Refuses its state after having taken half of it."""

    def restore_snapshot(self, state: Total) -> None:
        self.total.names.append("half")
        raise LookupError("not mine")

    async def names(self) -> list[str]:
        return self.total.names


class Opaque(Counter):
    """Its state cannot be written as msgpack."""

    def take_snapshot(self) -> Total:
        return Total(self.total.value, [object()])  # type: ignore[list-item]
