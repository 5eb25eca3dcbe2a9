"""Checklist O: the registry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trio.testing import MockClock

from supervisors import (
    AlreadyRegistered,
    ChildSpec,
    Exit,
    ExitReason,
    InvalidSpec,
    Killed,
    NotOwner,
    NotUnique,
    Owner,
    Registry,
    RegistryChange,
    Shutdown,
    SupervisionError,
    open_supervisor,
)
from tests.supervisors.tools import puppets, settle


class FakeOwner:
    """An owner whose death and the news of it are two things."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.callbacks: list[Callable[[ExitReason], object]] = []

    def when_dead(self, callback: Callable[[ExitReason], object]) -> None:
        self.callbacks.append(callback)

    def tell(self) -> None:
        for callback in self.callbacks:
            callback(Killed())


def test_o159_a_unique_key_has_one_holder() -> None:
    """A second registration fails for another and for the holder itself, and names the holder."""
    names = Registry()
    one, two = FakeOwner("one"), FakeOwner("two")
    names.register("k", 1, owner=one)
    for owner in (one, two):
        with pytest.raises(AlreadyRegistered) as caught:
            names.register("k", 2, owner=owner)
        assert caught.value.holder is one
    assert names.lookup("k") == [(one, 1)]
    with pytest.raises(InvalidSpec, match="keys"):
        Registry("many")  # type: ignore[arg-type]


def test_o160_a_dead_holder_is_replaced_at_once() -> None:
    """Also while nobody has cleaned up after it; its late cleanup takes nothing from the new holder."""
    names = Registry()
    old, new = FakeOwner("old"), FakeOwner("new")
    names.register("k", owner=old)
    old.alive = False
    names.register("k", owner=new)
    old.tell()
    assert names.whereis("k") is new
    with pytest.raises(SupervisionError, match="dead"):
        names.register("other", owner=old)


def test_o161_duplicate_keys_keep_every_entry() -> None:
    """Several for one key, also from one owner."""
    topics = Registry("duplicate")
    one, two = FakeOwner("one"), FakeOwner("two")
    topics.register("k", 1, owner=one)
    topics.register("k", 2, owner=two)
    topics.register("k", 3, owner=one)
    assert topics.lookup("k") == [(one, 1), (two, 2), (one, 3)]
    assert topics.values("k", one) == [1, 3]
    assert (topics.count(), topics.count("k"), topics.keys(one)) == (3, 3, ["k"])


async def test_o162_a_death_removes_every_entry(autojump_clock: MockClock) -> None:
    """A real child, under every key it had; before its supervisor starts the next life."""
    _, (a,) = puppets("a")
    names = Registry()
    seen: list[tuple[str, Owner | None]] = []

    async def named(*, task_status: object) -> None:
        seen.append(("before", names.whereis("x")))
        names.register("x")
        names.register("y", 7)
        await a.live(task_status=task_status)  # type: ignore[arg-type]

    async with open_supervisor([ChildSpec("a", named)], max_restarts=1000) as tree:
        for _ in range(200):
            a.end(ValueError("x"))
            await settle()
        assert seen == [("before", None)] * 201
        assert names.count() == 2
        await tree.terminate_child("a")
        assert (names.count(), names.whereis("x"), names.lookup("y")) == (0, None, [])


def test_o163_dispatch_runs_here_and_not_for_nobody() -> None:
    """Its exception reaches the caller."""
    topics = Registry("duplicate")
    one = FakeOwner("one")
    calls: list[object] = []
    topics.dispatch("k", calls.append)
    topics.register("k", 1, owner=one)
    topics.dispatch("k", calls.append)
    assert calls == [[(one, 1)]]

    def raising(entries: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        topics.dispatch("k", raising)


def test_o164_unregister_takes_ones_own_entries_only() -> None:
    """Twice is fine; the owner lives on."""
    topics = Registry("duplicate")
    one, two = FakeOwner("one"), FakeOwner("two")
    topics.register("k", 1, owner=one)
    topics.register("k", 2, owner=two)
    topics.unregister("k", owner=one)
    topics.unregister("k", owner=one)
    assert topics.lookup("k") == [(two, 2)]
    assert (one.alive, topics.keys(one)) == (True, [])


def test_o165_whereis_shows_only_the_living_and_needs_unique_keys() -> None:
    """A duplicate registry refuses."""
    names = Registry()
    one = FakeOwner("one")
    names.register("k", owner=one)
    assert names.whereis("k") is one
    one.alive = False
    assert names.whereis("k") is None
    assert names.lookup("k") == []
    with pytest.raises(NotUnique):
        Registry("duplicate").whereis("k")


async def test_o166_only_the_owner_updates_and_subscribers_see_explicit_changes(autojump_clock: MockClock) -> None:
    """A crash is no unregister."""
    names = Registry()
    changes: list[tuple[str, object, object]] = []

    def note(change: RegistryChange) -> None:
        changes.append((change.kind, change.key, change.value))

    def broken(change: RegistryChange) -> None:
        raise RuntimeError

    names.subscribe(broken)
    unsubscribe = names.subscribe(note)
    one, two = FakeOwner("one"), FakeOwner("two")
    names.register("k", 1, owner=one)
    assert names.update_value("k", lambda value: (value, 2), owner=one) == ((1, 2), 1)
    with pytest.raises(NotOwner):
        names.update_value("k", lambda value: value, owner=two)
    names.unregister("k", owner=one)
    assert changes == [("register", "k", 1), ("unregister", "k", (1, 2))]
    _, (a,) = puppets("a")

    async def named(*, task_status: object) -> None:
        names.register("c", 3)
        await a.live(task_status=task_status)  # type: ignore[arg-type]

    async with open_supervisor([ChildSpec("a", named, restart="transient")]):
        a.end(Exit(Shutdown()))
        await settle()
    assert changes[2:] == [("register", "c", 3)]
    unsubscribe()
    names.register("z", owner=two)
    assert len(changes) == 3
    with pytest.raises(NotUnique):
        Registry("duplicate").update_value("k", lambda value: value, owner=one)
    with pytest.raises(SupervisionError, match="not the child"):
        names.register("nobody")
