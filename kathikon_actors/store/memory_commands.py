"""The part of the memory store that operators use: commands for owners, changes of many jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, JobNotFound, OwnedElsewhere
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.commands import COMMANDS, DONE, NOT_FOUND, Command, Requested, wanted_states
from kathikon_actors.telemetry.telling import note_moved

if TYPE_CHECKING:
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.store.protocol import Membership
    from kathikon_actors.telemetry.telling import Telling

__all__ = ["MemoryCommand", "MemoryCommands"]


@dataclass
class MemoryCommand:
    """A command and its answer, `None` while there is none."""

    command: Command
    answer: str | None = None


class MemoryCommands:
    """`CommandStore` on a `MemoryData`."""

    data: MemoryData
    telling: Telling

    async def _begin(self) -> None:
        raise NotImplementedError

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
        number = len(self.data.commands) + 1
        self.data.commands[number] = MemoryCommand(Command(number, job_id, change, percent))
        self.data.tell_control(COMMANDS)
        return number

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """See `Store.request`."""
        await self._begin()
        with self.telling.collect():
            return self._request(wanted.with_states(wanted_states(wanted, change.action)), change)

    def _request(self, meant: Filter, change: Change) -> Requested:
        data, found = self.data, Requested()
        for record in [r for r in (*data.live.values(), *data.finished.values()) if meant.takes(r)]:
            if record.id in data.live and data.is_held(record):
                found.asked[self._ask(record.id, change)] = record.id
                continue
            try:
                data.apply(record.id, change)
            except InvalidState as error:
                found.errors[record.id] = error
            else:
                found.done.append(record.id)
        return found

    async def open_commands(self, membership: Membership, after: int, limit: int) -> list[Command]:
        """See `Store.open_commands`."""
        await self._begin()
        data = self.data
        found = []
        for number, entry in data.commands.items():
            record = data.live.get(entry.command.job_id)
            ours = record is None or record.node in (None, membership.node)
            if entry.answer is None and number > after and ours:
                found.append(entry.command)
        return found[:limit]

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
        except InvalidState as error:
            entry.answer = DONE if change.is_fulfilled_by(error.old) else error.old
        else:
            entry.answer = DONE
        return True

    async def give_answers(self, answers: Sequence[tuple[int, str]]) -> None:
        """See `Store.give_answers`."""
        await self._begin()
        for number, answer in answers:
            entry = self.data.commands[number]
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
