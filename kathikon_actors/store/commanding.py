"""Commands and changes of many jobs on a Postgres connection; see `commands` for what they mean.

Each function is one asyncio piece of work for `Pool.run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs import json
from kathikon_actors.jobs.actions import Change, NotMeant
from kathikon_actors.jobs.errors import InvalidState, JobNotFound, OwnedElsewhere, UniqueConflict
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.states import TERMINAL_STATES, State
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
from kathikon_actors.store.managing import change_row
from kathikon_actors.store.outside import get_row
from kathikon_actors.store.retaking import deciding, gather_results, retake_keys, settle_keys
from kathikon_actors.store.rows import decode_rows, pg_id, pg_us
from kathikon_actors.store.selecting import filter_values
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import MOST, is_heard, note_more, note_moved

if TYPE_CHECKING:
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = [
    "ask",
    "ask_node",
    "ask_progress",
    "carry_out",
    "change_finished",
    "count_meeting",
    "give_answers",
    "open_commands",
    "progress",
    "purge_meeting",
    "purge_rows",
    "read_answers",
    "request_change",
    "take_answer",
    "withdraw",
]

PROGRESS: Final = "progress"
"""The action of a command that is about progress."""

CHUNK: Final = 1_000
"""Rows that are locked, changed and written as one step of a transaction."""


async def ask(raw: Raw, job_id: bytes, change: Change) -> int:
    """See `CommandStore.ask`."""
    return next(iter(await _ask(raw, [job_id], change)))


async def ask_progress(raw: Raw, job_id: bytes, percent: int) -> int:
    """See `CommandStore.ask_progress`."""
    number: int = await raw.fetchval(statement("ask"), [pg_id(job_id)], PROGRESS, 0, float(percent), None)
    await raw.execute(statement("tell_control"), COMMANDS)
    return number


async def progress(raw: Raw, job_id: bytes, percent: int) -> str | None:
    """See `CommandStore.progress`."""
    row = await raw.fetchrow(statement("progress"), pg_id(job_id), percent)
    assert row is not None
    if row["done"]:
        return DONE
    if row["live"]:
        return None
    ended: str | None = row["ended"]
    return NOT_FOUND if ended is None else ended


async def _ask(raw: Raw, ids: Iterable[bytes], change: Change) -> dict[int, bytes]:
    rows = await raw.fetch(
        statement("ask"), [pg_id(i) for i in ids], change.action, change.now, change.delay, list(change.states) or None
    )
    await raw.execute(statement("tell_control"), COMMANDS)
    return {row["number"]: row["job_id"].bytes for row in rows}


async def request_change(raw: Raw, wanted: Filter, change: Change) -> Requested:
    """See `CommandStore.request`."""
    return await deciding(raw, _request_change, wanted, change)


async def _request_change(raw: Raw, wanted: Filter, change: Change) -> Requested:
    states = wanted_states(wanted, change.action)
    found = Requested()
    live = await _pick(raw, "pick_live", wanted, [s for s in states if s not in TERMINAL_STATES])
    # Before any is changed, so that none is met twice; one that moves meanwhile is met where it was.
    ended = await _pick(raw, "pick_finished", wanted, [s for s in states if s in TERMINAL_STATES])
    for chunk in _chunks(live):
        await _change_live(raw, chunk, change, found)
    known = set(live)
    ended = [job_id for job_id in ended if job_id not in known]
    if ended and change.action == "retry":
        held = await retake_keys(raw, ended, change)
        found.errors.update(held)
        ended = [job_id for job_id in ended if job_id not in held]
        if len(ended) > CHUNK:  # one chunk is stored in that order anyway
            ended = [row[0].bytes for row in await raw.fetch(statement("in_key_order"), list(map(pg_id, ended)))]
    for chunk in _chunks(ended):
        await change_finished(raw, chunk, change, found)
    if ended and change.action == "retry":
        await settle_keys(raw, ended)
    return found


async def _pick(raw: Raw, name: str, wanted: Filter, states: list[State]) -> list[bytes]:
    if not states:
        return []
    wanted = wanted.with_states(states)
    return [row[0].bytes for row in await raw.fetch(statement(name), *filter_values(wanted))]


def _chunks(ids: list[bytes]) -> Iterable[list[bytes]]:
    return (ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK))


async def _change_live(raw: Raw, ids: list[bytes], change: Change, found: Requested) -> None:
    records = decode_rows(await raw.fetch(statement("lock_free_jobs"), [pg_id(i) for i in ids]), "")
    changed = _apply(records, change, found)
    await _write(raw, changed)
    await _finish(raw, changed)
    free = {record.id for record in records}
    left = [job_id for job_id in ids if job_id not in free]
    if not left:
        return
    found.errors.update({job_id: JobNotFound(as_uuid(job_id)) for job_id in left})
    owned = []
    for job_id, state, ended in await raw.fetch(statement("where_now"), [pg_id(i) for i in left]):
        if ended:  # since it was picked
            found.errors[job_id.bytes] = change.refused(job_id, state)
        else:
            del found.errors[job_id.bytes]
            owned.append(job_id.bytes)
    if owned:
        found.asked.update(await _ask(raw, owned, change))


async def change_finished(raw: Raw, ids: list[bytes], change: Change, found: Requested) -> None:
    """Apply a change to finished rows, within the transaction that is open; nobody owns what lives again."""
    records = decode_rows(await raw.fetch(statement("lock_finished_jobs"), [pg_id(i) for i in ids]), "")
    changed = _apply(records, change, found)
    if changed:
        await raw.execute(statement("revive"), [pg_id(record.id) for record in changed])
        await _write(raw, changed)
        gained = await gather_results(raw, changed)
        if gained:
            results = [r.extra.dependency_results.decode() for r in gained if r.extra is not None]
            await raw.execute(statement("put_results"), [pg_id(record.id) for record in gained], results)
        await _finish(raw, changed)


def _apply(records: list[Record], change: Change, found: Requested) -> list[Record]:
    changed = []
    for record in records:
        try:
            change.apply(record)
        except NotMeant:  # it has moved since it was picked
            pass
        except InvalidState as error:
            found.errors[record.id] = error
        else:
            changed.append(record)
            found.done.append(record.id)
    return changed


async def _write(raw: Raw, changed: list[Record]) -> None:
    if not changed:
        return
    await raw.execute(
        statement("write_changed"),
        [pg_id(r.id) for r in changed],
        [r.state for r in changed],
        [r.max_attempts for r in changed],
        [r.progress for r in changed],
        [r.history.decode() for r in changed],
        [r.errors.decode() for r in changed],
        [pg_us(r.scheduled_at) for r in changed],
        [None if r.finished_at is None else pg_us(r.finished_at) for r in changed],
    )


async def _finish(raw: Raw, changed: list[Record]) -> None:
    ended = [pg_id(record.id) for record in changed if record.state in TERMINAL_STATES]
    if ended:
        await raw.execute(statement("finish_changed"), ended)
    live = {record.queue for record in changed if record.state not in TERMINAL_STATES}
    if live:
        await raw.execute(statement("tell"), ",".join(sorted(live)))


async def open_commands(raw: Raw, membership: Membership, after: int, limit: int) -> list[Command | Question]:
    """See `CommandStore.open_commands`."""
    rows = await raw.fetch(statement("open_commands"), membership.node_id, after, limit)
    return [Question(row["number"], row["action"]) if row["job_id"] is None else _command(row) for row in rows]


def _command(row: Any) -> Command:
    number, job_id = row["number"], row["job_id"].bytes
    if row["action"] == PROGRESS:
        return Command(number, job_id, None, int(row["value"]))
    return Command(number, job_id, Change(row["action"], row["at"], row["value"], states=tuple(row["states"] or ())))


async def carry_out(raw: Raw, number: int) -> bool:
    """See `CommandStore.carry_out`."""
    async with raw.transaction():
        row = await raw.fetchrow(statement("lock_command"), number)
        if row is None:
            return bool(await read_answers(raw, [number]))
        command = _command(row)
        change = command.change
        if change is None:
            told = await progress(raw, command.job_id, command.percent)
            if told is not None:
                await give_answers(raw, [(number, told)])
            return told is not None
        answer = DONE
        try:
            await change_row(raw, command.job_id, change, None, ())
        except OwnedElsewhere:
            return False
        except JobNotFound:
            answer = NOT_FOUND
        except NotMeant:
            answer = NOT_MEANT
        except UniqueConflict as error:
            answer = HELD + str(error.holder)
        except InvalidState as error:
            record = await get_row(raw, command.job_id)
            done = change.is_fulfilled_by(error.old) or (record is not None and change.is_done(record))
            answer = DONE if done else error.old
        await give_answers(raw, [(number, answer)])
        return True


async def give_answers(raw: Raw, answers: Sequence[tuple[int, str]]) -> None:
    """See `CommandStore.give_answers`."""
    await raw.execute(statement("answer"), [number for number, _ in answers], [answer for _, answer in answers])


async def read_answers(raw: Raw, numbers: Sequence[int]) -> dict[int, str]:
    """See `CommandStore.read_answers`."""
    return {row["number"]: row["answer"] for row in await raw.fetch(statement("answers"), list(numbers))}


async def ask_node(raw: Raw, node: str, what: str, seconds: float) -> int | None:
    """See `CommandStore.ask_node`."""
    async with raw.transaction():
        number: int | None = await raw.fetchval(statement("ask_node"), node, what, float(seconds))
        await raw.execute(statement("tell_control"), COMMANDS)
    return number


async def take_answer(raw: Raw, number: int) -> str | None:
    """See `CommandStore.take_answer`."""
    answer: str | None = await raw.fetchval(statement("take_answer"), number)
    return answer


async def withdraw(raw: Raw, number: int) -> None:
    """See `CommandStore.withdraw`."""
    await raw.execute(statement("withdraw_question"), number)


async def purge_rows(raw: Raw, ids: Sequence[bytes]) -> set[bytes]:
    """See `CommandStore.purge`."""
    gone: set[bytes] = set()
    async with raw.transaction():
        for chunk in _chunks(list(ids)):
            rows = await raw.fetch(statement("purge"), [pg_id(i) for i in chunk])
            note_moved("purged", rows, None)
            gone.update(row["id"].bytes for row in rows)
    return gone


async def purge_meeting(raw: Raw, wanted: Filter) -> int:
    """See `CommandStore.purge_meeting`."""
    if not is_heard():
        status = await raw.execute(statement("purge_meeting"), *filter_values(wanted))
        return int(status.rpartition(" ")[2])
    row = await raw.fetchrow(statement("purge_meeting_told"), *filter_values(wanted), MOST)
    assert row is not None
    note_moved("purged", json.decode(row["named"].encode()) if row["named"] else (), None)
    note_more("purged", json.decode(row["more"].encode()) if row["more"] else (), None)
    number: int = row["number"]
    return number


async def count_meeting(raw: Raw, wanted: Filter) -> int:
    """See `CommandStore.count_meeting`."""
    number: int = await raw.fetchval(statement("count_meeting"), *filter_values(wanted))
    return number
