"""OTP's rules of supervision as a small pure model: no tasks, no waiting, time is a parameter.

It answers what the real thing must do: the diary (starts, stops, own ends, failed starts), states, counts, windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Inner", "Leaf", "ModelSupervisor", "Spec", "World"]


@dataclass(frozen=True)
class Leaf:
    """A worker."""

    name: str
    restart: str = "permanent"
    significant: bool = False
    delay: float | None = None


@dataclass(frozen=True)
class Inner:
    """A supervisor with its first children."""

    name: str
    restart: str = "permanent"
    significant: bool = False
    strategy: str = "one_for_one"
    max_restarts: int = 1
    max_seconds: float = 5.0
    auto_shutdown: str = "never"
    children: tuple[Spec, ...] = ()


Spec = Leaf | Inner


@dataclass
class World:
    """What all supervisors of a tree share."""

    now: float = 0.0
    diary: list[str] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False)
class Entry:
    """A child in a supervisor's table."""

    spec: Spec
    state: str = "stopped"
    below: ModelSupervisor | None = None
    restarts: int = 0
    due: float | None = None
    held: bool = False

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def delay(self) -> float | None:
        return self.spec.delay if isinstance(self.spec, Leaf) else None


class StartFailed(Exception):
    """A child of the model did not start."""


class ModelSupervisor:
    """One life of a supervisor."""

    def __init__(self, world: World, spec: Inner, parent: tuple[ModelSupervisor, Entry] | None) -> None:
        self.world = world
        self.spec = spec
        self.parent = parent
        self.entries = [Entry(child) for child in spec.children]
        self.window: list[float] = []
        self.dead = False
        self.gave_up = False

    # Lives.

    def start_first(self) -> None:
        """Start all in order, or undo it and raise."""
        for entry in self.entries:
            try:
                self.start(entry)
            except StartFailed:
                self.stop_all()
                raise

    def start(self, entry: Entry) -> None:
        """Start one child, all of it."""
        spec = entry.spec
        if isinstance(spec, Inner):
            below = ModelSupervisor(self.world, spec, (self, entry))
            below.start_first()
            entry.below = below
        else:
            if self.world.failures.get(spec.name, 0) > 0:
                self.world.failures[spec.name] -= 1
                self.world.diary.append(f"?{spec.name}")
                raise StartFailed
            self.world.diary.append(f"+{spec.name}")
        entry.state = "running"

    def stop(self, entry: Entry) -> None:
        """Stop one child from outside, all of it."""
        if entry.running:
            entry.state = "stopped"
            if entry.below is not None:
                entry.below.stop_all()
                entry.below = None
            else:
                self.world.diary.append(f"-{entry.spec.name}")

    def stop_all(self) -> None:
        """Stop everything in reverse order; this life is over."""
        for entry in reversed(self.entries):
            self.stop(entry)
            entry.state = "stopped"
            entry.due = None
        self.dead = True

    # Deaths.

    def dies(self, entry: Entry, *, abnormal: bool) -> None:
        """A child ended by itself."""
        entry.state = "stopped"
        entry.below = None
        restart = entry.spec.restart
        if restart == "temporary" or (restart == "transient" and not abnormal):
            if restart == "temporary":
                self.entries.remove(entry)
            if entry.spec.significant and self.is_last_trigger():
                self.end()
        else:
            entry.state = "restarting"
            if entry.delay is not None or self.admits():
                self.restart(entry)

    def is_last_trigger(self) -> bool:
        if self.spec.auto_shutdown == "any_significant":
            return True
        return not any(entry.spec.significant and entry.state != "stopped" for entry in self.entries)

    def end(self) -> None:
        """Stop all and tell the parent; for it this is a shutdown."""
        self.stop_all()
        if self.parent is not None:
            parent, entry = self.parent
            parent.dies(entry, abnormal=False)

    def admits(self) -> bool:
        """Count a restart; the one too many ends this supervisor."""
        now, period = self.world.now, self.spec.max_seconds
        self.window = [then for then in self.window if now - then <= period] + [now]
        if len(self.window) <= self.spec.max_restarts:
            return True
        self.gave_up = True
        self.end()
        return False

    def group(self, anchor: Entry) -> list[Entry]:
        """Who is restarted with `anchor`."""
        match self.spec.strategy:
            case "one_for_one":
                return [anchor]
            case "one_for_all":
                return list(self.entries)
            case _:
                return self.entries[self.entries.index(anchor) :]

    def restart(self, anchor: Entry) -> None:
        """Restart the group of one that died: now, or all of it after the longest delay that is asked for."""
        delay = anchor.delay
        for entry in self.group(anchor):
            entry.held = False
            if entry is not anchor and entry.due is not None:
                delay = max(delay or 0.0, entry.due - self.world.now)
        self.bring_down(anchor)
        if delay is None:
            self.bring_up(anchor)
        else:
            anchor.due = self.world.now + delay

    def bring_down(self, anchor: Entry) -> None:
        """Stop the others of the group in reverse order."""
        for entry in reversed(self.group(anchor)):
            if entry is not anchor:
                entry.due = None
                self.stop(entry)
                if entry.spec.restart == "temporary":
                    self.entries.remove(entry)
                elif not entry.held:
                    entry.state = "restarting"

    def bring_up(self, anchor: Entry) -> None:
        """Start the group in order; the first that fails to start is the anchor of the next attempt."""
        while True:
            for entry in self.group(anchor):
                if entry.running or entry.held:
                    continue
                try:
                    self.start(entry)
                    entry.restarts += 1
                except StartFailed:
                    entry.state = "restarting"
                    anchor = entry
                    break
            else:
                return
            if anchor.delay is not None:
                anchor.due = self.world.now + anchor.delay
                return
            if not self.admits():
                return
            self.bring_down(anchor)

    def on_time(self, entry: Entry) -> None:
        """The delay of `entry` is over."""
        entry.due = None
        self.bring_down(entry)
        self.bring_up(entry)

    # Calls; each returns the name of the error, or "ok".

    def find(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.spec.name == name), None)

    def start_child(self, spec: Spec) -> str:
        present = self.find(spec.name)
        if present is not None:
            return "AlreadyStarted" if present.running else "AlreadyPresent"
        entry = Entry(spec)
        try:
            self.start(entry)
        except StartFailed:
            return "FailedToStart"
        self.entries.append(entry)
        return "ok"

    def terminate_child(self, name: str) -> str:
        entry = self.find(name)
        if entry is None:
            return "ChildNotFound"
        if entry.state == "restarting":
            entry.state = "stopped"
            entry.held = True
            due, entry.due = entry.due, None
            if self.spec.strategy != "one_for_one":
                heirs = [one for one in self.group(entry) if one.state == "restarting" and one.due is None]
                if heirs and due is not None:
                    heirs[0].due = due
        self.stop(entry)
        if entry.spec.restart == "temporary":
            self.entries.remove(entry)
        return "ok"

    def restart_child(self, name: str) -> str:
        entry = self.find(name)
        if entry is None:
            return "ChildNotFound"
        if entry.state != "stopped":
            return "ChildRunning" if entry.running else "ChildRestarting"
        try:
            self.start(entry)
        except StartFailed:
            return "FailedToStart"
        entry.held = False
        return "ok"

    def delete_child(self, name: str) -> str:
        entry = self.find(name)
        if entry is None:
            return "ChildNotFound"
        if entry.state != "stopped":
            return "ChildRunning" if entry.running else "ChildRestarting"
        self.entries.remove(entry)
        return "ok"

    # Time.

    def pass_time(self, until: float) -> None:
        """Let every delay in the tree that ends before `until` end, in order."""
        while not self.dead:
            waiting = [
                (e.due, n, s, e) for n, s in enumerate(self.supervisors()) for e in s.entries if e.due is not None
            ]
            if not waiting or min(waiting, key=lambda one: one[:2])[0] > until:
                break
            due, _, supervisor, entry = min(waiting, key=lambda one: one[:2])
            self.world.now = due
            supervisor.on_time(entry)
        self.world.now = until

    # Looking.

    def supervisors(self) -> Iterator[ModelSupervisor]:
        """This one and all that run below it, depth first."""
        yield self
        for entry in self.entries:
            if entry.below is not None:
                yield from entry.below.supervisors()

    def picture(self) -> tuple[object, ...]:
        """Everything that is to be compared, as plain data."""
        now = self.world.now
        return (
            self.spec.strategy,
            sum(1 for then in self.window if now - then <= self.spec.max_seconds),
            tuple(
                (entry.spec.name, entry.state, entry.restarts, None if entry.below is None else entry.below.picture())
                for entry in self.entries
            ),
        )
