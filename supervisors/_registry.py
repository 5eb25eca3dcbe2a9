"""A registry of names and properties (Elixir's Registry): who holds a key, until it dies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal, Protocol

from supervisors._errors import SupervisionError
from supervisors._exits import ExitReason
from supervisors._inside import self_pid
from supervisors._specs import check_choice

__all__ = ["AlreadyRegistered", "NotOwner", "NotUnique", "Owner", "Registry", "RegistryChange"]

logger = logging.getLogger("supervisors")
Keys = Literal["unique", "duplicate"]


class Owner(Protocol):
    """Who may hold a key: a `Pid`, or anything hashable that says whether it lives and calls back when it dies."""

    @property
    def alive(self) -> bool:
        """Whether it lives."""
        ...

    def when_dead(self, callback: Callable[[ExitReason], object]) -> object:
        """Call `callback(reason)` at its end; at once if it is dead."""


class AlreadyRegistered(SupervisionError):
    """A unique key has a living holder: `holder`."""

    def __init__(self, key: Hashable, holder: Owner) -> None:
        super().__init__(f"key {key!r} is held by {holder!r}")
        self.key = key
        self.holder = holder


class NotOwner(SupervisionError):
    """Only the holder of a key may change its value."""

    def __init__(self, key: Hashable) -> None:
        super().__init__(f"key {key!r} is not held by the caller")
        self.key = key


class NotUnique(SupervisionError):
    """The call makes sense for unique keys only, and this registry has duplicate ones."""

    def __init__(self, call: str) -> None:
        super().__init__(f'{call} needs a Registry(keys="unique")')
        self.call = call


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """What a subscriber of a registry gets; there is none when a holder dies (watch the holder for that)."""

    kind: Literal["register", "unregister"]
    key: Hashable
    owner: Owner
    value: object


class Registry:
    """Keys and who holds them, with a value each. Entries go when their owner dies.

    A child of a supervisor registers itself; another owner is given by `owner=`. All methods are plain functions that
    answer at once. A dead owner is never shown.

    Args:
        keys: "unique" (one living holder a key) or "duplicate" (any number of entries).

    Example:
        names = Registry()

        async def server() -> None:
            names.register("server", {"port": 80})
            await serve()

        pid = names.whereis("server")
    """

    def __init__(self, keys: Keys = "unique") -> None:
        check_choice("keys", keys, Keys)
        self._unique = keys == "unique"
        self._entries: dict[Hashable, list[tuple[Owner, object]]] = {}
        self._owned: dict[Owner, dict[Hashable, None]] = {}
        self._subscribers: dict[object, Callable[[RegistryChange], object]] = {}

    def register(self, key: Hashable, value: object = None, *, owner: Owner | None = None) -> Owner:
        """Hold `key` with `value`; returns the owner.

        Raises:
            AlreadyRegistered: the key is unique and held, by the caller itself or by another that lives.
            SupervisionError: the owner is dead, or the caller is no child of a supervisor and gave none.
        """
        owner = self_pid() if owner is None else owner
        if not owner.alive:
            raise SupervisionError(f"{owner!r} is dead and cannot register {key!r}")
        if self._unique:
            for holder, _ in self.lookup(key):
                raise AlreadyRegistered(key, holder)
            self._entries.pop(key, None)
        self._entries.setdefault(key, []).append((owner, value))
        if owner not in self._owned:
            self._owned[owner] = {}
            own = owner
            owner.when_dead(lambda _: self._forget(own))
        self._owned[owner][key] = None
        self._tell(RegistryChange("register", key, owner, value))
        return owner

    def unregister(self, key: Hashable, *, owner: Owner | None = None) -> None:
        """Give up every entry that the owner has under `key`; nothing happens if there is none."""
        owner = self_pid() if owner is None else owner
        mine = [value for holder, value in self._entries.get(key, ()) if holder == owner]
        self._remove(key, owner)
        if owner in self._owned:
            self._owned[owner].pop(key, None)
        for value in mine:
            self._tell(RegistryChange("unregister", key, owner, value))

    def lookup(self, key: Hashable) -> list[tuple[Owner, object]]:
        """Return the living owners of `key` with their values, in the order in which they came."""
        return [(owner, value) for owner, value in self._entries.get(key, ()) if owner.alive]

    def whereis(self, key: Hashable) -> Owner | None:
        """Return the living holder of a unique key, or None.

        Raises:
            NotUnique: this registry has duplicate keys.
        """
        if not self._unique:
            raise NotUnique("whereis")
        return next((owner for owner, _ in self.lookup(key)), None)

    def dispatch(self, key: Hashable, fn: Callable[[list[tuple[Owner, object]]], object]) -> None:
        """Call `fn` here and now with all entries of `key`, unless there is none; what it raises comes out."""
        entries = self.lookup(key)
        if entries:
            fn(entries)

    def update_value(
        self, key: Hashable, fn: Callable[[object], object], *, owner: Owner | None = None
    ) -> tuple[object, object]:
        """Replace the value of one's own unique key by `fn(value)`; returns the new and the old one.

        Raises:
            NotOwner: the key is not held, or by another; NotUnique: this registry has duplicate keys.
        """
        if not self._unique:
            raise NotUnique("update_value")
        owner = self_pid() if owner is None else owner
        for holder, old in self.lookup(key):
            if holder == owner:
                new = fn(old)
                self._entries[key] = [(owner, new)]
                return new, old
        raise NotOwner(key)

    def keys(self, owner: Owner | None = None) -> list[Hashable]:
        """Return the keys that the owner holds, in the order in which they came; a key held twice comes once."""
        owner = self_pid() if owner is None else owner
        return list(self._owned.get(owner, ()))

    def values(self, key: Hashable, owner: Owner | None = None) -> list[object]:
        """Return the values that the owner has under `key`."""
        owner = self_pid() if owner is None else owner
        return [value for holder, value in self.lookup(key) if holder == owner]

    def count(self, key: Hashable | None = None) -> int:
        """Return the number of entries under `key`, or of all when it is None."""
        if key is not None:
            return len(self.lookup(key))
        return sum(len(self.lookup(one)) for one in self._entries)

    def subscribe(self, handler: Callable[[RegistryChange], object]) -> Callable[[], None]:
        """Call `handler` at every register and unregister (not when a holder dies); returns the way out."""
        token = object()
        self._subscribers[token] = handler

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def _tell(self, change: RegistryChange) -> None:
        for handler in tuple(self._subscribers.values()):
            try:
                handler(change)
            except Exception:
                logger.exception("a registry subscriber raised")

    def _remove(self, key: Hashable, owner: Owner) -> None:
        left = [entry for entry in self._entries.get(key, ()) if entry[0] != owner]
        if left:
            self._entries[key] = left
        else:
            self._entries.pop(key, None)

    def _forget(self, owner: Owner) -> None:
        for key in self._owned.pop(owner, ()):
            self._remove(key, owner)
