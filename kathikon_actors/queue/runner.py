"""One worker process as its queue sees it: what it was given, what it is doing, what has to be done about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from copy import copy
from typing import Literal

from kathikon_actors import faults
from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.processes.exits import WorkerDied
from kathikon_actors.processes.frames import FrameTooLarge
from kathikon_actors.processes.messages import ActorFrame, Ask, FromWorker, Progress, Report, Run
from kathikon_actors.processes.sabotage import run_of
from kathikon_actors.processes.shared import SETTLE
from kathikon_actors.queue.asked import hand_on
from kathikon_actors.queue.death import Death
from kathikon_actors.queue.given import FAILED, Given
from kathikon_actors.queue.pace import AHEAD, MAX_AHEAD, Pace
from kathikon_actors.queue.patience import GRACE, LONG, SHOWN_AFTER, STALLED_AFTER
from kathikon_actors.queue.recycling import Limits, MemoryWatch
from kathikon_actors.queue.settle import Backoffs, Ending, end_by_hand, settle, settle_interrupted
from kathikon_actors.queue.workplace import Workplace
from kathikon_actors.store.table import Table

__all__ = ["Kind", "Runner"]

logger = logging.getLogger(__name__)

Kind = Literal["plain", "async"]


class Runner:
    """Gives runs to one worker process and settles what comes back.

    Args:
        process: where the jobs run.
        table: where its records live.
        node: the node's name.
        pace: the queue's, shared by its runners.
        quarantine: the queue's: ids of jobs that run alone from now on.
        clock: gives microseconds since 1970.
        backoff: of the workers, for attempts that a crash or a timeout ended.
        alone: a quarantine: one job at a time, nothing ahead.
        limits: after which it is given nothing more. `on_ended` is told of runs that are over or never began,
            and of what a job becomes whose `on_discard` is still to run.
        on_spent: called once, when it will be given nothing more and goes on only with what it has.

    Attributes:
        clogged: it did not take what it was sent last; whoever watches it clears this, for another attempt.
    """

    def __init__(
        self,
        process: Workplace,
        table: Table,
        node: str,
        pace: Pace,
        quarantine: set[bytes],
        clock: Callable[[], int],
        backoff: Backoffs,
        *,
        alone: bool = False,
        limits: Limits = Limits(),
        on_ended: Callable[[Iterable[Record]], None] | None = None,
        on_spent: Callable[[], object] = bool,
    ) -> None:
        self.process = process
        self.kind: Kind = process.kind
        self.alone = alone
        self.jobs = 0
        self.clogged = False
        self.on_frame: Callable[[bytes], object] = bool
        self._table = table
        self._node = node
        self._pace = pace
        self._quarantine = quarantine
        self._backoff = backoff
        self._clock = clock
        self._given: dict[int, Given] = {}
        self._unsent: list[Run] = []
        self._revoked: set[int] = set()
        self._revoked_at: float | None = None
        self._revoked_from = 0
        self._ahead = 0.0
        self._last_seq = 0
        self._active = 0.0
        self._killed_for: int | None = None
        self._retired = False
        self._max_jobs = limits.jobs if limits.jobs is not None else math.inf
        self._memory = None if limits.memory is None else MemoryWatch(limits.memory)
        self._weighed_at = -1
        self._too_heavy = False
        self._on_spent = on_spent
        self._on_ended = on_ended

    # -- giving -------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """Runs that were given and have not ended."""
        return len(self._given)

    @property
    def idle(self) -> bool:
        """Whether nothing is given and nothing is being taken back."""
        return not self._given and not self._revoked

    def has_room(self) -> bool:
        """Whether one more may be given."""
        if self._retired or self.clogged or self._revoked or self._revoked_at is not None:
            return False
        if not self._given:
            return self.process.slots > 0
        if self.alone or self.jobs + len(self._given) >= self._max_jobs:
            return False
        if self.kind == "async":
            return len(self._given) < self.process.slots
        return self._ahead < AHEAD and len(self._given) < MAX_AHEAD

    def give(self, record: Record, at: int, now: float) -> bool:
        """Hand a record over: its attempt begins. `send` puts everything that was given on the wire.

        Gives whether one more may be given.

        Args:
            record: available, and out of the heap.
            at: microseconds since 1970.
            now: monotonic seconds.
        """
        self._last_seq = seq = self._last_seq + 1
        was = machine.before(record)
        machine.begin(record, at)
        cost = self._pace.expected(record.worker)
        self._ahead += cost
        self._given[seq] = Given(record, was, cost, now)
        self._unsent.append(run_of(seq, record) if faults.armed else Run(seq, record))
        if self.jobs + (1 if self.kind == "plain" else len(self._given)) >= self._max_jobs:
            self.replace()
        return self.has_room()

    def send(self) -> None:
        """Put what was given on the wire, in one frame."""
        if not self._unsent:
            return
        runs, self._unsent = self._unsent, []
        try:
            self.process.send(runs)
        except FrameTooLarge:
            self._send_apart(runs)
        except BufferError:
            self._keep_back(runs)

    def _send_apart(self, runs: list[Run]) -> None:
        """One of them fits into no frame: it ends here, as it never will; the others are sent."""
        for place, run in enumerate(runs):
            try:
                self.process.send([run])
            except FrameTooLarge as error:
                message = (
                    f"the job has {error.size} bytes with its arguments, {error.limit} fit on the way to a worker "
                    "process; store what is large elsewhere, and give the job a reference"
                )
                self.hear([Report(run.seq, "discarded", 0.0, kind="too_large", message=message)])
            except BufferError:
                self._keep_back(runs[place:])
                return

    def _keep_back(self, runs: list[Run]) -> None:
        """The process does not read what it was sent: these go back, and it is given no more for a moment."""
        self.clogged = True
        back = []
        for run in runs:
            given = self._given.pop(run.seq)
            self._ahead -= given.cost
            given.undo(self._clock())
            back.append(given.record)
        self._hand_back(back)

    def retire(self) -> None:
        """Give it nothing more, and want no successor."""
        self._retired = True

    @property
    def over(self) -> bool:
        """Whether it is given nothing more and has ended all it had."""
        return self._retired and self.idle

    def replace(self) -> None:
        """Have it replaced: it is given nothing more, and ends what it has beside its successor."""
        if not self._retired:
            self._retired = True
            self._on_spent()

    # -- hearing ------------------------------------------------------------------------------------------------

    def hear(self, messages: Iterable[FromWorker]) -> list[Record]:
        """Settle what the process reported; give the records whose run has ended, but those that are mourned first."""
        now = self._clock()
        ended: list[Record] = []
        back: list[Record] = []
        mourned: list[Record] = []
        mourners = self._table.mourners
        for message in messages:
            if not isinstance(message, Report):
                self._hear_aside(message, now)
                continue
            given = self._given.pop(message.seq, None)
            if given is None:
                self._revoked.discard(message.seq)
                continue
            self._ahead -= given.cost
            record = given.record
            if message.verdict == "returned":
                given.undo(now)
                back.append(record)
                continue
            self._pace.observe(record.worker, message.seconds)
            self.jobs += 1
            if self.alone:
                self._quarantine.discard(record.id)
            was = copy(record) if message.verdict in FAILED and mourners is not None else None
            if message.verdict == "completed" and given.why is None:
                settle(record, message, now, self._node, self.process.pid, self._backoff)
            else:
                self._settle(given, message, now)
            after = None if was is None or mourners is None else given.mourn(mourners, was)
            if after is None:
                ended.append(record)
            else:
                mourned.append(after)
        if self._revoked_at is not None and not self._revoked and not self._given:
            self._unrevoke()
        if not self._given:
            self._ahead = 0.0
        if self.jobs + (self.kind == "plain" and bool(self._given)) >= self._max_jobs:
            self.replace()
        if ended:
            self._changed(ended)
        if mourned and self._on_ended is not None:
            self._on_ended(mourned)
        if back:
            self._hand_back(back)
        return ended

    def _hear_aside(self, message: Progress | ActorFrame | Ask, now: int) -> None:
        if isinstance(message, Ask):
            hand_on(message, self._given, self._table, self.process)
            return
        if isinstance(message, ActorFrame):
            self.on_frame(message.data)
            return
        given = self._given.get(message.seq)
        if given is not None:
            if given.note_progress(message.percent, now):
                self._table.changed([given.record])
            if self._table.on_progress is not None:
                self._table.on_progress(given.record)

    def _settle(self, given: Given, report: Report, now: int) -> None:
        record, pid = given.record, self.process.pid
        if report.verdict == "interrupted":
            settle_interrupted(record, given.why or "timeout", now, self._node, pid, self._backoff)
        else:
            settle(record, report, now, self._node, pid, self._backoff)
            # It ended by itself at the same moment: what it returned counts, another attempt is not made.
            end_by_hand(record, given.why, now)

    # -- watching -----------------------------------------------------------------------------------------------

    def watch(self, now: float) -> None:
        """Look at what the process is doing: enforce timeouts, take back what waits behind a long job.

        Args:
            now: monotonic seconds, by the clock that the worker process stamps its runs with.
        """
        running = dict(self.process.running())
        for seq, started_ns in running.items():
            given = self._given.get(seq)
            if given is None:
                continue
            if given.why is not None and given.kill_at == math.inf:
                given.kill_at = now + GRACE
                self.process.interrupt(seq, "timeout" if given.why == "timeout" else "cancel")
            elapsed = now - started_ns / 1e9
            if elapsed > given.record.timeout:
                self.interrupt(seq, given, "timeout", now)
            if (elapsed > SHOWN_AFTER or given.record.orphaned) and not given.shown:
                given.shown = True
                self._table.changed([given.record])
            if self.kind == "plain" and elapsed > LONG:
                self._revoke(seq + 1, now)
        self._take_back(running, now)
        if self._memory is not None and self._is_too_heavy(self._memory, running, now):
            return
        for seq, given in self._given.items():
            if now > given.kill_at:
                logger.warning("job %s did not give way, to be killed: %r", given.record.id.hex(), self.process)
                self._killed_for = seq
                self.process.kill()
                return
        if running or not self._given:
            self._active = now
        else:
            # What was running until now has ended, and its report may be on its way.
            oldest = next(iter(self._given.values()))
            if now - max(oldest.sent, self._active) > STALLED_AFTER:
                logger.warning("worker process %d starts nothing; it is killed", self.process.pid)
                self.process.kill()

    def weigh(self, now: float) -> None:
        """Look at what an idle process holds in memory, once after each of its jobs; retire it when that is much."""
        if self._memory is not None and self.idle and self._weighed_at != self.jobs:
            self._weighed_at = self.jobs
            self._is_too_heavy(self._memory, {}, now)

    def _is_too_heavy(self, memory: MemoryWatch, running: dict[int, int], now: float) -> bool:
        """Retire the process when it holds much; kill it when it holds too much, and tell."""
        held = self.process.resident_bytes()
        if held is None:
            return False
        memory.look(held, running)
        if memory.is_near and self.jobs:
            self.replace()
            self.revoke_waiting(now)
        if not (memory.is_over and running):
            return False
        logger.warning("worker process %d is killed: %s", self.process.pid, memory)
        self._too_heavy = True
        self.process.kill()
        return True

    def interrupt(self, seq: int, given: Given, why: Ending, now: float) -> None:
        """Ask a run to stop; `watch` kills its process when it has not given way within `GRACE`.

        A run that has not started has longer: its time begins when it is seen to run. A plain process has room for one
        request to stop, which belongs to what it runs: what waits there is revoked.
        """
        if given.why is not None:
            if given.why == "timeout":
                given.why = why  # it is being stopped already; what an operator wants decides where it ends
            return
        given.why = why
        if self.kind == "plain" and not self._runs(seq):
            self._revoke(seq, now)
            if not self._runs(seq):
                return
        if self._runs(seq):
            given.kill_at = now + GRACE
        self.process.interrupt(seq, "timeout" if why == "timeout" else "cancel")

    def _runs(self, seq: int) -> bool:
        return any(seq == running for running, _ in self.process.running())

    def interrupt_job(self, job_id: bytes, why: Ending, now: float) -> bool:
        """Ask the run of one job to stop; tell whether it runs here."""
        for seq, given in self._given.items():
            if given.record.id == job_id:
                self.interrupt(seq, given, why, now)
                return True
        return False

    def _revoke(self, seq: int, now: float) -> None:
        """Let nothing start from `seq` on; `watch` takes it back."""
        if self._revoked_at is not None and self._revoked_from <= seq:
            return
        if any(other >= seq for other in self._given):
            self.process.revoke_from(seq)
            self._revoked_at = now
            self._revoked_from = seq

    def _take_back(self, running: dict[int, int], now: float) -> None:
        """A run that is not seen as running a while after the revoke will never start."""
        if self._revoked_at is None or now - self._revoked_at < SETTLE:
            return
        back = []
        for other in [seq for seq in self._given if seq >= self._revoked_from]:
            if other not in running:
                given = self._given.pop(other)
                self._ahead -= given.cost
                self._revoked.add(other)
                given.undo(self._clock())
                back.append(given.record)
        self._hand_back(back)

    def revoke_waiting(self, now: float) -> None:
        """Take back everything that has not started; `watch` completes it."""
        running = [seq for seq, _ in self.process.running()]
        if self.kind == "plain":
            self._revoke(max(running, default=0) + 1, now)

    def _unrevoke(self) -> None:
        self._revoked_at = None
        self.process.unrevoke()

    # -- the end ------------------------------------------------------------------------------------------------

    def bury(self, died: WorkerDied) -> None:
        """The process is gone by itself or by its job: settle what it had."""
        ended = {seq: says_nothing for seq, says_nothing in self.process.last_ended().items() if seq in self._given}
        started = frozenset(seq for seq, _ in self.process.running() if seq in self._given and seq not in ended)
        death = Death(
            died.exit,
            started,
            ended,
            self._killed_for,
            self._memory if self._too_heavy else None,
            self.kind == "async",
            self._quarantine,
            self._clock(),
            self._node,
            self.process.pid,
            self._backoff,
            self._table.mourners,
        )
        changed, back, mourned = death.settle(self._given)
        # Some were cancelled, or taken by another node, before their turn came: nothing else would forget them.
        self._quarantine.intersection_update(self._table.records.keys())
        self._forget()
        self._changed(changed)
        if mourned and self._on_ended is not None:
            self._on_ended(mourned)
        self._hand_back(back)

    def abandon(self) -> None:
        """The process was stopped because its pool stops: what it had goes back, uncounted."""
        now = self._clock()
        started = {seq for seq, _ in self.process.running()}
        changed, back = [], []
        for seq, given in self._given.items():
            if seq in started:
                machine.take_back(given.record, now, "its worker process was stopped")
                end_by_hand(given.record, given.why, now)
                changed.append(given.record)
            else:
                given.undo(now)
                back.append(given.record)
        self._forget()
        self._changed(changed)
        self._hand_back(back)

    def _changed(self, records: list[Record]) -> None:
        failed = [record for record in records if record.state == "retryable"]
        if failed and self._table.on_failed is not None:
            self._table.on_failed(failed)
        self._table.changed(records)
        if self._on_ended is not None:
            self._on_ended(records)

    def _hand_back(self, records: list[Record]) -> None:
        self._table.changed(record for record in records if record.state in TERMINAL_STATES)
        self._table.route(records)
        if self._on_ended is not None:
            self._on_ended(records)

    def _forget(self) -> None:
        self._given.clear()
        self._unsent.clear()
        self._revoked.clear()
        self._retired = True
