"""The census under fire: worker processes and whole nodes are killed with SIGKILL while it runs.

A parent process runs the census in a child, which tells over a pipe how far it is and which worker processes it has.
When and whom to kill is drawn from a seed, as shares of the work done: kills fall in the middle of a run however fast
the machine is. The same seed gives the same plan, not the same run: nobody can seed the kernel's scheduler.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from kathikon_actors import Node
from kathikon_actors.telemetry import Event, JobTransition

__all__ = ["ChaosOutcome", "Reporter", "Stuck", "run_under_fire"]

REPORT_EVERY = 0.01
"""Seconds between two reports of the child."""

STUCK_AFTER = 60.0
"""Seconds without any progress after which the parent gives up: a healthy child restarts in two."""

STOP_GRACE = 30.0
"""Seconds that the child has to stop in order when the parent is stopped."""

_FIRST, _LAST = 0.02, 0.75
"""Shares of the work between which kills fall; the rest is for those that come late on a busy machine."""


class Stuck(Exception):
    """The run made no progress for `STUCK_AFTER` seconds."""


class _Report(NamedTuple):
    """How far a child is.

    Attributes:
        done: files that were counted, by whomever.
        total: files in all; 0 until the child knows.
        share: of the work, that was done.
        ended: files that this child has counted; those that wait in the store are, before it knows of the others.
        pids: of its worker processes.
    """

    done: int
    total: int
    share: float
    ended: int
    pids: list[int]

    def since(self, last: _Report | None) -> _Report:
        """Tell how far the run is, though the child does not know yet: from the last report of the one before it."""
        if self.total or last is None or last.done == last.total:
            return self
        left = last.total - last.done
        ended = min(self.ended, left)
        return _Report(
            last.done + ended, last.total, last.share + (1 - last.share) * ended / left, self.ended, self.pids
        )


class Reporter:
    """The child's side: writes reports into the parent's pipe while the census runs.

    Args:
        descriptor: the pipe's writing end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._far: tuple[int, int, float] = (0, 0, 0.0)
        self._ended = 0
        os.set_blocking(descriptor, False)

    def progress(self, done: int, total: int, share: float) -> None:
        """Note how far the run is."""
        self._far = (done, total, share)

    async def report(self, node: Node) -> None:
        """Write until cancelled, or until the parent is gone."""
        node.subscribe(self._count, JobTransition)
        while True:
            await trio.sleep(REPORT_EVERY)
            line = json.dumps([*self._far, self._ended, list(node.worker_pids().get("files", ()))])
            try:
                os.write(self._descriptor, line.encode() + b"\n")
            except BlockingIOError:
                pass  # the parent is busy; it wants the newest report only
            except BrokenPipeError:
                return

    def _count(self, event: Event) -> None:
        if isinstance(event, JobTransition) and event.queue == "files" and event.new == "completed":
            self._ended += 1


@dataclass
class ChaosOutcome:
    """What was done to a run.

    Attributes:
        exit_code: of the last child.
        worker_kills: worker processes killed while files were left to count.
        node_kills: nodes, likewise.
        node_starts: children started.
        seconds: from the first start to the end.
    """

    exit_code: int = 0
    worker_kills: int = 0
    node_kills: int = 0
    node_starts: int = 0
    seconds: float = 0.0


def run_under_fire(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    seed: int,
    kills: int,
    node_kills: int,
    show: Callable[[int, int, str], None],
) -> ChaosOutcome:
    """Run the census in children until one of them ends by itself.

    Args:
        command: runs the census, given the number of a descriptor to report to as its last argument.
        environment: of the children.
        seed: of the plan.
        kills: worker processes to kill.
        node_kills: nodes to kill.
        show: told `(done, total, note)`.

    Raises:
        Stuck: nothing moved for a minute.
    """
    attack = _Attack(command, environment, random.Random(seed), kills, node_kills, show)
    began = time.monotonic()
    try:
        while not attack.run_once():
            pass
    finally:
        attack.outcome.seconds = time.monotonic() - began
    return attack.outcome


@dataclass
class _Attack:
    command: Sequence[str]
    environment: Mapping[str, str]
    random: random.Random
    kills: int
    node_kills: int
    show: Callable[[int, int, str], None]
    outcome: ChaosOutcome = field(default_factory=ChaosOutcome)

    def __post_init__(self) -> None:
        nodes = [False] * self.kills + [True] * self.node_kills
        # What is next stands last.
        self._plan = sorted(((self.random.uniform(_FIRST, _LAST), node) for node in nodes), reverse=True)
        self._dead: set[int] = set()
        self._most_done = 0
        self._last: _Report | None = None

    def run_once(self) -> bool:
        """Run one child to its end; tell whether it ended by itself."""
        reading, writing = os.pipe()
        try:
            try:
                child = subprocess.Popen([*self.command, str(writing)], env=dict(self.environment), pass_fds=[writing])
            finally:
                os.close(writing)
            self.outcome.node_starts += 1
            self._dead.clear()
            try:
                if self._watch(child, reading):
                    return False
                self.outcome.exit_code = child.wait()
            except BaseException:
                _stop(child)
                raise
            return True
        finally:
            os.close(reading)

    def _watch(self, child: subprocess.Popen[bytes], reading: int) -> bool:
        """Follow the child's reports; tell whether it was killed. The pipe's end is the child's."""
        unread = b""
        moved = time.monotonic()
        done_before = -1
        before = self._last
        while True:
            ready, _, _ = select.select([reading], [], [], STUCK_AFTER)
            data = os.read(reading, 65_536) if ready else b""
            if ready and not data:
                return False
            *lines, unread = (unread + data).split(b"\n")
            if lines:
                report = _Report(*json.loads(lines[-1])).since(before)
                if report.total:
                    self._last = report
                if report.done != done_before:
                    done_before, moved = report.done, time.monotonic()
                if self._strike(child, report):
                    return True
                self._tell(report)
            if time.monotonic() - moved > STUCK_AFTER:
                raise Stuck(f"no file was counted for {STUCK_AFTER:.0f} s ({done_before} are done)")

    def _strike(self, child: subprocess.Popen[bytes], report: _Report) -> bool:
        """Do what the plan has next, when its time has come; tell whether the node was killed."""
        if not self._plan or not report.done < report.total or report.share < self._plan[-1][0]:
            return False
        if self._plan[-1][1]:
            self._plan.pop()
            child.kill()
            child.wait()
            self.outcome.node_kills += 1
            return True
        # One at a time and each but once: the report may be older than the last kill.
        alive = [pid for pid in report.pids if pid not in self._dead]
        if alive:
            pid = self.random.choice(alive)
            self._dead.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self._plan.pop()
                self.outcome.worker_kills += 1
        return False

    def _tell(self, report: _Report) -> None:
        if not report.total:
            return
        self._most_done = max(self._most_done, report.done)
        outcome = self.outcome
        self.show(
            self._most_done, report.total, f"{outcome.worker_kills} workers and {outcome.node_kills} nodes killed"
        )


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
