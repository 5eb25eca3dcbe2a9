"""A worker process is gone by itself or by its job: who is to blame, and what becomes of the jobs it had."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.processes.exits import ExitStatus
from kathikon_actors.queue.given import Given
from kathikon_actors.queue.recycling import MemoryWatch
from kathikon_actors.queue.settle import Backoffs, settle_crash, settle_interrupted, settle_memory
from kathikon_actors.store.mourners import Mourners

__all__ = ["Death"]


@dataclass(frozen=True)
class Death:
    """What is known of a death.

    What had not started goes back uncounted. A run that was alone is the culprit, and so is one that did not give
    way. Of several, nobody knows: each goes back uncounted, and runs alone from now on; the same holds for one that
    may have come into memory that another had left behind.

    A run that had ended, its report lost with the process, is settled as completed when its report would have said
    nothing but that. Another one runs again, uncounted; when nothing else was on, ended runs are what may have killed
    the process (by closing its descriptors, say), and a single one that does it again when it runs alone is counted.

    Attributes:
        exit: how the process ended.
        started: the runs that were on.
        ended: those whose report is lost, and whether each completed without a result.
        killed_for: the run that did not give way, if it was killed for that.
        too_heavy: it was killed for what it held in memory.
        shared: it ran many jobs at once: a culprit is not let among others again.
        quarantine: ids of jobs that run alone from now on.
        now: microseconds since 1970.
        node: the node's name.
        pid: of the process.
        backoff: for the attempts that failed.
        mourners: call `on_discard` of those that end here.
    """

    exit: ExitStatus
    started: frozenset[int]
    ended: Mapping[int, bool]
    killed_for: int | None
    too_heavy: MemoryWatch | None
    shared: bool
    quarantine: set[bytes]
    now: int
    node: str
    pid: int
    backoff: Backoffs
    mourners: Mourners | None = None

    def settle(self, given: Mapping[int, Given]) -> tuple[list[Record], list[Record], list[Record]]:
        """Move every job that the process had.

        Gives those whose row changed, those that never started, and what those become whose `on_discard` is called.
        """
        changed: list[Record] = []
        mourned: list[Record] = []
        back: list[Record] = []
        lost = [seq for seq, says_nothing in self.ended.items() if not says_nothing]
        for seq, run in given.items():
            if seq in self.started or seq in self.ended:
                was = copy(run.record)
                if seq in self.started:
                    self._judge(seq, run)
                else:
                    self._settle_lost(seq, run, alone=len(lost) == 1)
                after = None if self.mourners is None else run.mourn(self.mourners, was)
                if after is None:
                    changed.append(run.record)
                else:
                    mourned.append(after)
            else:
                run.undo(self.now)
                back.append(run.record)
        return changed, back, mourned

    def _judge(self, seq: int, run: Given) -> None:
        record, now, how = run.record, self.now, str(self.exit)
        if run.why is not None and (self.killed_for == seq or run.why != "timeout"):
            settle_interrupted(record, run.why, now, self.node, self.pid, self.backoff)
        elif self.killed_for is not None:
            machine.take_back(record, now, f"its process was killed for another job ({how})")
        elif self.too_heavy is not None:
            if len(self.started) == 1 and (seq == 1 or self.too_heavy.was_within(seq)):
                settle_memory(record, str(self.too_heavy), now, self.node, self.pid, self.backoff)
                self._keep_apart(record)
            else:
                self._suspect(record, f"its process was killed, nobody knows for which job: {self.too_heavy}")
        elif self.exit.lost:
            machine.take_back(record, now, how)
        elif len(self.started) == 1:
            settle_crash(record, how, now, self.node, self.pid, self.backoff)
            self._keep_apart(record)
        else:
            self._suspect(record, f"its process died with {len(self.started)} jobs running ({how})")

    def _settle_lost(self, seq: int, run: Given, *, alone: bool) -> None:
        record, now, how = run.record, self.now, str(self.exit)
        innocent = self.started or self.killed_for is not None or self.too_heavy is not None or self.exit.lost
        if self.ended[seq]:
            machine.complete(record, now, b"null")
            self.quarantine.discard(record.id)
        elif run.why is not None and run.why != "timeout":
            settle_interrupted(record, run.why, now, self.node, self.pid, self.backoff)
        elif innocent:
            machine.take_back(record, now, f"its report was lost with its process ({how})")
        elif alone and record.id in self.quarantine:
            settle_crash(record, how, now, self.node, self.pid, self.backoff)
            self._keep_apart(record)
        else:
            self._suspect(record, f"its process died before it could report ({how})")

    def _suspect(self, record: Record, reason: str) -> None:
        machine.take_back(record, self.now, reason)
        self.quarantine.add(record.id)

    def _keep_apart(self, record: Record) -> None:
        """One that killed its process among others would kill theirs again."""
        if record.state in TERMINAL_STATES:
            self.quarantine.discard(record.id)
        elif self.shared:
            self.quarantine.add(record.id)
