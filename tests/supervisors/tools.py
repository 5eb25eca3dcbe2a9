"""A child on strings, a diary of what happened, and small helpers for the tests of this room."""

from __future__ import annotations

import itertools
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, Event, cleanup_scope

__all__ = ["Diary", "Puppet", "puppets", "settle", "watch"]


_turns = itertools.count()


class Diary(list[str]):
    """What happened, in order: `+a` up, `-a` stopped from outside, `!a` ended by itself, `?a` failed to start."""

    def take(self) -> list[str]:
        """Return what was written since the last take."""
        lines = list(self)
        self.clear()
        return lines


class Puppet:
    """A child whose starts, end and cleanup a test decides."""

    def __init__(self, diary: Diary, name: str) -> None:
        self.diary = diary
        self.name = name
        self.starts = 0
        self.lives = 0
        self.failures: list[BaseException] = []
        self.start_time = 0.0
        self.cleanup = 0.0
        self.cleanup_error: BaseException | None = None
        self.args: list[tuple[object, ...]] = []
        self.asked: list[tuple[float, int]] = []
        self._outcome: BaseException | None = None
        self._end = trio.Event()

    def spec(self, **options: Any) -> ChildSpec:
        """Return the spec of this child, with its name as its id."""
        return ChildSpec(options.pop("id", self.name), self.live, **options)

    def end(self, outcome: BaseException | None = None) -> None:
        """Make the present life return, or raise `outcome`."""
        self._outcome = outcome
        self._end.set()

    async def live(
        self, *args: object, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED, **_: object
    ) -> None:
        """Be the child."""
        self.starts += 1
        self.args.append(args)
        if self.start_time:
            await trio.sleep(self.start_time)
        if self.failures:
            self.diary.append(f"?{self.name}")
            raise self.failures.pop(0)
        self.lives += 1
        end = self._end = trio.Event()
        self.diary.append(f"+{self.name}")
        task_status.started(f"{self.name}{self.lives}")
        mark = "-"
        try:
            await end.wait()
            mark = "!"
            if self._outcome is not None:
                raise self._outcome
        finally:
            if mark == "-":
                await self._clean_up()
            self.diary.append(f"{mark}{self.name}")

    async def _clean_up(self) -> None:
        self.asked.append((trio.current_time(), next(_turns)))
        if self.cleanup:
            with cleanup_scope():
                await trio.sleep(self.cleanup)
        if self.cleanup_error is not None:
            raise self.cleanup_error


def puppets(names: str) -> tuple[Diary, list[Puppet]]:
    """Return a diary and one puppet a letter that writes in it."""
    diary = Diary()
    return diary, [Puppet(diary, name) for name in names]


async def settle() -> None:
    """Return when every other task waits for something."""
    await wait_all_tasks_blocked()


def watch(tree: Any) -> list[tuple[str, object, str]]:
    """Return a list that fills with (context, child id, reason) of every event but progress."""
    seen: list[tuple[str, object, str]] = []

    def on_event(event: Event) -> None:
        if event.context != "progress":
            seen.append((event.context, event.child.id, str(event.reason)))

    tree.subscribe(on_event)
    return seen
