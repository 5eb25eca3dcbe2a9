"""The part of the memory store that operators use: commands for owners, changes of many jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kathikon_actors.jobs.actions import Change, NotMeant
from kathikon_actors.jobs.errors import InvalidState, JobNotFound, OwnedElsewhere, UniqueConflict
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.commands import (
    COMMANDS,
    DONE,
    HELD,
    NOT_FOUND,
    NOT_MEANT,
    Command,
    Question,
    Requested,
    wanted_states,
)
from kathikon_actors.telemetry.telling import note_moved

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.store.protocol import Membership
    from kathikon_actors.telemetry.telling import Telling

__all__ = ["MemoryCommand", "MemoryCommands", "MemoryQuestion"]


@dataclass
class MemoryCommand:
    """A command and its answer, `None` while there is none."""

    command: Command
    answer: str | None = None


@dataclass
class MemoryQuestion:
    """A question and its answer.

    Attributes:
        node: who is asked.
        until: microseconds since 1970 when nobody waits for the answer any more.
    """

    question: Question
    node: str
    until: int
    answer: str | None = None


class MemoryCommands(ABC):
    """`CommandStore` on a `MemoryData`."""

    data: MemoryData
    telling: Telling

    @abstractmethod
    async def _begin(self) -> None: ...

    async def ask(self, job_id: bytes, change: Change) -> int:
        """See `Store.ask`."""
        await self._begin()
        return self._ask(job_id, change)

    async def ask_progress(self, job_id: bytes, percent: int) -> int:
        """See `Store.ask_progress`."""
        await self._begin()
        return self._ask(job_id, None, percent)

    async def progress(self, job_id: bytes, percent: int) -> str | None:
        """See `Store.progress`."""
        await self._begin()
        return self._progress(job_id, percent)

    def _progress(self, job_id: bytes, percent: int) -> str | None:
        data = self.data
        record = data.live.get(job_id)
        if record is None:
            ended = data.finished.get(job_id)
            return NOT_FOUND if ended is None else ended.state
        if data.is_held(record):
            return None
        record.progress = percent
        return DONE

    def _ask(self, job_id: bytes, change: Change | None, percent: int = 0) -> int:
        number = self.data.next_command()
        self.data.commands[number] = MemoryCommand(Command(number, job_id, change, percent))
        self.data.tell_control(COMMANDS)
        return number

    async def ask_node(self, node: str, what: str, seconds: float) -> int | None:
        """See `Store.ask_node`."""
        await self._begin()
        data = self.data
        if node not in data.nodes:
            return None
        number = data.next_command()
        until = data.clock() + int(seconds * 1e6)
        data.questions[number] = MemoryQuestion(Question(number, what), node, until)
        data.tell_control(COMMANDS)
        return number

    async def take_answer(self, number: int) -> str | None:
        """See `Store.take_answer`."""
        await self._begin()
        entry = self.data.questions.get(number)
        if entry is None or entry.answer is None:
            return None
        del self.data.questions[number]
        return entry.answer

    async def withdraw(self, number: int) -> None:
        """See `Store.withdraw`."""
        await self._begin()
        self.data.questions.pop(number, None)

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """See `Store.request`."""
        await self._begin()
        with self.telling.collect():
            return self._request(wanted.with_states(wanted_states(wanted, change.action)), change)

    def _request(self, meant: Filter, change: Change) -> Requested:
        data, found = self.data, Requested()
        meets = [r for r in (*data.live.values(), *data.finished.values()) if meant.takes(r)]
        for record in sorted(meets, key=_by_id):
            if record.id in data.live and data.is_held(record):
                found.asked[self._ask(record.id, change)] = record.id
                continue
            try:
                data.apply(record.id, change)
            except NotMeant:
                pass
            except (InvalidState, UniqueConflict) as error:
                found.errors[record.id] = error
            else:
                found.done.append(record.id)
        return found

    async def open_commands(self, membership: Membership, after: int, limit: int) -> list[Command | Question]:
        """See `Store.open_commands`."""
        await self._begin()
        data = self.data
        found: list[Command | Question] = []
        for number, entry in data.commands.items():
            record = data.live.get(entry.command.job_id)
            ours = record is None or record.node in (None, membership.node)
            if entry.answer is None and number > after and ours:
                found.append(entry.command)
        found += [
            asked.question
            for number, asked in data.questions.items()
            if asked.node == membership.node and asked.answer is None and asked.until > data.clock() and number > after
        ]
        return sorted(found, key=lambda entry: entry.number)[:limit]

    async def carry_out(self, number: int) -> bool:
        """See `Store.carry_out`."""
        await self._begin()
        entry = self.data.commands[number]
        if entry.answer is not None:
            return True
        job_id, change = entry.command.job_id, entry.command.change
        if change is None:
            entry.answer = self._progress(job_id, entry.command.percent)
            return entry.answer is not None
        try:
            with self.telling.collect():
                self.data.apply(job_id, change)
        except OwnedElsewhere:
            return False
        except JobNotFound:
            entry.answer = NOT_FOUND
        except NotMeant:
            entry.answer = NOT_MEANT
        except UniqueConflict as error:
            entry.answer = HELD + str(error.holder)
        except InvalidState as error:
            entry.answer = DONE if change.is_fulfilled_by(error.old) else error.old
        else:
            entry.answer = DONE
        return True

    async def give_answers(self, answers: Sequence[tuple[int, str]]) -> None:
        """See `Store.give_answers`."""
        await self._begin()
        for number, answer in answers:
            entry = self.data.commands.get(number) or self.data.questions.get(number)
            if entry is not None:
                entry.answer = entry.answer or answer

    async def read_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """See `Store.read_answers`."""
        await self._begin()
        entries = ((number, self.data.commands[number].answer) for number in numbers)
        return {number: answer for number, answer in entries if answer is not None}

    async def purge(self, ids: Sequence[bytes]) -> set[bytes]:
        """See `Store.purge`."""
        await self._begin()
        return self._purge([job_id for job_id in ids if job_id in self.data.finished])

    def _purge(self, ids: list[bytes]) -> set[bytes]:
        gone = [self.data.finished.pop(job_id) for job_id in ids]
        with self.telling.collect():
            note_moved("purged", ((as_uuid(r.id), r.worker, r.queue, r.attempt, r.state) for r in gone), None)
        return set(ids)

    async def purge_meeting(self, wanted: Filter) -> int:
        """See `Store.purge_meeting`."""
        await self._begin()
        return len(self._purge([record.id for record in self.data.finished.values() if wanted.takes(record)]))

    async def count_meeting(self, wanted: Filter) -> int:
        """See `Store.count_meeting`."""
        await self._begin()
        data = self.data
        return sum(wanted.takes(record) for record in (*data.live.values(), *data.finished.values()))

    async def listen_control(self, topic: str, wake: Callable[[], None]) -> None:
        """See `Store.listen_control`."""
        await self._begin()
        self.data.control.setdefault(topic, {})[id(self)] = wake


def _by_id(record: Record) -> bytes:
    return record.id
