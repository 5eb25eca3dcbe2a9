"""Inserts that a database has to decide on: unique keys, dependencies, batches; one transaction, on any connection.

Everything travels as text and plain numbers, since a caller's own connection may have whatever codecs. The order in
which rows are locked is the same everywhere (batches, parents by id, keys in their order, new rows in the order of
their keys), so that nobody waits in a circle. Where two that are under way want one key, the later one decides anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.composing import Answer, check_meeting, parents_first
from kathikon_actors.jobs.errors import AlreadyExists, BatchClosed, BatchNotFound, DependenciesNotFound, KathikonError
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique
from kathikon_actors.store.keys import KeyTaken, by_key
from kathikon_actors.store.rows import array_literal, decode_rows, pg_id, pg_time
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.jobs.extra import Extra
    from kathikon_actors.store.connection import Raw

__all__ = ["insert_composed"]

_TIMES: Final = (0, 1, 2, 3)
_IDS: Final = (11, 21, 22, 23, 29, 30)
_PARENTS: Final = 26
_SIMPLE: Final = Unique()


async def insert_composed(
    raw: Raw,
    records: Sequence[Record],
    store_rows: Callable[[list[Record]], Awaitable[None]],
    *,
    check_ids: bool,
    own_codecs: bool = False,
    admit: Callable[[list[Record]], Awaitable[Mapping[bytes, KathikonError]]] | None = None,
) -> dict[bytes, Answer]:
    """Decide on each insert and store what is to be stored, within the transaction that is open.

    Args:
        raw: any asyncpg connection, in a transaction.
        records: in input order; plain ones may be among them. Unchanged.
        store_rows: inserts rows into `kathikon.jobs`, with `holds_key` set where there is a key.
        check_ids: some ids may be taken already.
        own_codecs: the connection is one of ours.
        admit: says which of those that would be stored are refused, and why.

    Returns:
        An answer for each record that is not stored as it was given; one whose id and `inserted_at` are stored already
        is that very one.

    Raises:
        KeyTaken: the transaction is to be rolled back.
    """
    return await _Inserts(raw, records, own_codecs=own_codecs).run(store_rows, admit, check_ids=check_ids)


class _Inserts:
    """One batch of inserts on its way."""

    def __init__(self, raw: Raw, records: Sequence[Record], *, own_codecs: bool) -> None:
        self._raw = raw
        self._own_codecs = own_codecs
        self._answers: dict[bytes, Answer] = {}
        self._order = [record.id for record in records]
        self._left = {record.id: record for record in records}
        self._changed: set[bytes] = set()
        self._aliases: dict[bytes, bytes] = {}
        self._live: set[bytes] = set()
        self._ended: dict[bytes, tuple[str, str | None]] = {}

    async def run(
        self,
        store_rows: Callable[[list[Record]], Awaitable[None]],
        admit: Callable[[list[Record]], Awaitable[Mapping[bytes, KathikonError]]] | None,
        *,
        check_ids: bool,
    ) -> dict[bytes, Answer]:
        if check_ids:
            await self._check_ids()
        await self._check_batches()
        await self._hold_parents()
        await self._take_keys()
        if admit is not None:
            await self._leave_out(await admit(list(self._left.values())))
        pairs, doomed = await self._find_parents()
        await self._grow_batches()
        await store_rows(by_key(list(self._left.values())))
        if check_ids and self._own_codecs:  # what comes from outside looks again by itself
            await self._check_ids_again()
        await self._leave_keys()
        if pairs:
            await self._raw.execute(statement("depend"), *map(list, zip(*pairs, strict=True)))
        if doomed:
            await self._raw.execute(statement("cancel_blocked"), [_text(record.id) for record in doomed])
            for record in doomed:
                machine.cancel(record, record.inserted_at, "a job that it depends on failed")
        for job_id in self._changed & self._left.keys():
            self._answers[job_id] = Answer(self._left[job_id])
        return self._answers

    def _mine(self, job_id: bytes) -> Record:
        """Give a record that may be changed: a copy of what the caller gave."""
        if job_id not in self._changed:
            self._changed.add(job_id)
            self._left[job_id] = copy(self._left[job_id])
        return self._left[job_id]

    def _refuse(self, job_id: bytes, answer: Answer) -> None:
        del self._left[job_id]
        self._answers[job_id] = answer

    async def _leave_out(self, refused: Mapping[bytes, KathikonError]) -> None:
        """Refuse some, and those that have met one of them: nobody is left who has their key."""
        for job_id, error in refused.items():
            extra = self._left[job_id].extra
            self._refuse(job_id, Answer(error=error))
            if extra is not None and extra.unique_key is not None:
                await self._raw.execute(statement("drop_keys"), [_text(extra.unique_key)])
        for job_id, answer in self._answers.items():
            met = answer.record.id if answer.conflict and answer.record is not None else b""
            if met in refused:
                self._answers[job_id] = Answer(error=refused[met])

    async def _check_ids(self) -> None:
        rows = await self._raw.fetch(statement("held_ids"), [_text(job_id) for job_id in self._left])
        held = {UUID(job_id).bytes: at - pg_time(0)[0] for job_id, at in rows}
        ours = [job_id for job_id, at in held.items() if self._left[job_id].inserted_at == at]
        stored = await _read(self._raw, ours)
        for job_id in held:
            record = stored.get(job_id)
            self._refuse(job_id, Answer(record) if record else Answer(error=AlreadyExists(as_uuid(job_id))))

    async def _check_ids_again(self) -> None:
        """A job of one of these ids may have come and ended since we looked."""
        ids = [pg_id(job_id) for job_id in self._left]
        if await self._raw.fetch(statement("undo_finished_inserts"), ids):
            raise KeyTaken

    async def _check_batches(self) -> None:
        wanted = {r.extra.batch_id for r in self._left.values() if r.extra is not None and r.extra.batch_id is not None}
        if not wanted:
            return
        rows = await self._raw.fetch(statement("hold_batches"), list(map(_text, wanted)))
        is_open = {UUID(batch).bytes: open_ for batch, open_ in rows}
        for record in list(self._left.values()):
            batch = record.extra.batch_id if record.extra is not None else None
            if batch is not None and not is_open.get(batch):
                error = BatchClosed if batch in is_open else BatchNotFound
                self._refuse(record.id, Answer(error=error(as_uuid(batch))))

    async def _grow_batches(self) -> None:
        numbers = Counter(r.extra.batch_id for r in self._left.values() if r.extra is not None)
        del numbers[None]
        if numbers:
            ids = [_text(batch) for batch in numbers if batch is not None]
            await self._raw.execute(statement("grow_batches"), ids, list(numbers.values()))

    # -- unique keys --------------------------------------------------------------------------------------------

    async def _take_keys(self) -> None:
        first: dict[bytes, Record] = {}
        losers: list[Record] = []
        for record in self._left.values():
            key = record.extra.unique_key if record.extra is not None else None
            if key is not None and first.setdefault(key, record) is not record:
                losers.append(record)
        if not first:
            return
        won = await self._try_keys(first)
        # Those that lost against a job stored before come first: in the order in which they were given.
        losers = [record for key, record in first.items() if key not in won] + losers
        if losers:
            await self._meet(losers, {key: first[key] for key in won})

    async def _leave_keys(self) -> None:
        """A key stands in one place from now on: in the row of a usual job, in `unique_keys` of others."""
        keyed = [r for r in self._left.values() if r.extra is not None and r.extra.unique_key is not None]
        own = [record for record in keyed if not (_extra(record).unique or _SIMPLE).is_simple]
        if own:
            await self._raw.execute(statement("leave_keys"), [_text(record.id) for record in own])
        if len(own) < len(keyed):
            others = {record.id for record in own}
            await self._drop_keys([record for record in keyed if record.id not in others])

    async def _drop_keys(self, records: Iterable[Record]) -> None:
        await self._raw.execute(statement("drop_keys"), [_text(_key(record)) for record in records])

    async def _try_keys(self, first: dict[bytes, Record]) -> set[bytes]:
        """Take those keys that are free; give them."""
        terms = [_terms(record) for record in first.values()]
        columns = list(map(list, zip(*terms, strict=True)))
        if not self._own_codecs:
            return {UUID(row[0]).bytes for row in await self._raw.fetch(statement("take_keys"), *columns)}
        simple = not any(columns[2]) and not any(columns[3])
        states, ends = ([], []) if simple else (columns[2], columns[3])
        keys, ids = list(map(pg_id, first)), [pg_id(record.id) for record in first.values()]
        if await self._raw.execute(statement("take_own_keys"), keys, ids, states, ends) == f"INSERT 0 {len(keys)}":
            return set(first)
        holders, _ = await self._holders(first)
        return {key for key, record in first.items() if holders.get(key) == record.id}

    async def _holders(self, keys: Iterable[bytes]) -> tuple[dict[bytes, bytes], set[bytes]]:
        """Give by key the id of the job that has it, and which of the keys are held by the job's row."""
        rows = await self._raw.fetch(statement("key_holders"), list(map(_text, keys)))
        # A row of unique_keys may be there still whose time is over.
        by_row = {UUID(key).bytes: UUID(job_id).bytes for key, job_id, by_row in rows if by_row}
        return {UUID(key).bytes: UUID(job_id).bytes for key, job_id, _ in rows} | by_row, set(by_row)

    async def _meet(self, losers: list[Record], won: dict[bytes, Record]) -> None:
        """Let each loser act on the job that has its key; one whose holder is gone takes it."""
        keys = {_key(record) for record in losers} - won.keys()
        holders, by_row = await self._holders(keys) if keys else ({}, set())
        known = await _read(self._raw, holders.values())
        if any(key not in holders for key in keys) or any(
            holders[key] not in known or known[holders[key]].state in TERMINAL_STATES for key in by_row
        ):
            raise KeyTaken  # it was; nobody has it any more
        changed = set()
        for record in losers:
            key = _key(record)
            policy = _extra(record).unique or _SIMPLE
            refused = check_meeting(record, policy, won[key] if key in won else known.get(holders[key], record))
            if refused is not None:
                self._refuse(record.id, Answer(error=refused))
            elif key in won:
                # Both are new: the first one is the job, as the later one wants it.
                holder = won[key]
                if policy.replace or policy.debounce is not None:
                    holder = won[key] = self._mine(holder.id)
                    _replace(holder, record, policy)
                self._conflict(record, holder)
            elif holders[key] not in known:
                await self._raw.execute(statement("retake_key"), *_terms(record))
                won[key] = record
            else:
                if policy.replace or policy.debounce is not None:
                    met = await self._raw.fetchval(statement("meet"), _text(key), *_changes(record, policy))
                    if met != _text(holders[key]):
                        raise KeyTaken
                    changed.add(holders[key])
                self._conflict(record, known[holders[key]])
        if changed:
            fresh = await _read(self._raw, changed)
            for job_id, answer in self._answers.items():
                if answer.conflict and answer.record is not None and answer.record.id in fresh:
                    self._answers[job_id] = Answer(fresh[answer.record.id], conflict=True)

    def _conflict(self, record: Record, holder: Record) -> None:
        self._aliases[record.id] = holder.id
        self._refuse(record.id, Answer(holder, conflict=True))

    # -- dependencies -------------------------------------------------------------------------------------------

    async def _find_parents(self) -> tuple[list[tuple[str, str]], list[Record]]:
        """Resolve what has ended; give `(parent, child)` of the rest, and those whose parents failed."""
        waiting = [r.id for r in self._left.values() if r.extra is not None and r.extra.depends_on]
        if not waiting:
            return [], []
        if self._aliases:
            for job_id in waiting:
                extra = _extra(self._left[job_id])
                parents = tuple(dict.fromkeys(self._aliases.get(parent, parent) for parent in extra.depends_on))
                self._mine(job_id).extra = msgspec.structs.replace(extra, depends_on=parents)
            await self._look_up({parent for job_id in waiting for parent in _extra(self._left[job_id]).depends_on})
        live, ended = self._live, self._ended
        # Parents first: one of these may be refused, and one that waits for itself by others always is.
        waiting = [record.id for record in parents_first([self._left[job_id] for job_id in waiting])]
        unsure = set(waiting)
        pairs: list[tuple[str, str]] = []
        doomed: list[Record] = []
        for job_id in waiting:
            record, extra = self._left[job_id], _extra(self._left[job_id])
            missing = [
                p for p in extra.depends_on if p not in live and p not in ended and (p not in self._left or p in unsure)
            ]
            unsure.discard(job_id)
            if missing:
                error = DependenciesNotFound(record.worker, list(map(_text, missing)))
                self._refuse(job_id, Answer(error=error))
                if extra.unique_key is not None:
                    await self._drop_keys([record])
                continue
            results = [
                b'"%b":%b' % (_text(parent).encode(), result.encode())
                for parent in extra.depends_on
                if parent in ended and ended[parent][0] == "completed" and (result := ended[parent][1]) is not None
            ]
            if results:
                self._mine(job_id).extra = msgspec.structs.replace(extra, dependency_results=b",".join(results))
            open_ = [parent for parent in extra.depends_on if parent not in ended]
            failed = any(parent in ended and ended[parent][0] != "completed" for parent in extra.depends_on)
            if failed and extra.on_dependency_failure == "discard":
                doomed.append(self._mine(job_id))
            elif open_:
                pairs += [(_text(parent), _text(job_id)) for parent in open_]
            else:
                machine.unblock(self._mine(job_id), record.inserted_at)
        return pairs, doomed

    async def _hold_parents(self) -> None:
        """Find out how the parents are; those that are live do not end before our commit."""
        records = (record for record in self._left.values() if record.extra is not None)
        await self._look_up({parent for record in records for parent in _extra(record).depends_on})

    async def _look_up(self, wanted: set[bytes]) -> None:
        wanted -= self._left.keys()
        for _ in range(2):  # a job may be put back while we look
            rest = [_text(job_id) for job_id in wanted - self._live - self._ended.keys()]
            if rest:
                self._live |= {UUID(row[0]).bytes for row in await self._raw.fetch(statement("hold_parents"), rest)}
                rest = [_text(job_id) for job_id in wanted - self._live]
                rows = await self._raw.fetch(statement("ended_parents"), rest)
                self._ended |= {UUID(job_id).bytes: (state, result) for job_id, state, result in rows}


def _extra(record: Record) -> Extra:
    assert record.extra is not None
    return record.extra


def _key(record: Record) -> bytes:
    key = _extra(record).unique_key
    assert key is not None
    return key


def _terms(record: Record) -> tuple[str, str, str | None, int | None]:
    """Give key, job, states and end of what an insert asks for; no states for the usual ones."""
    policy = _extra(record).unique or _SIMPLE
    usual = policy.states is UNIQUE_STATES or frozenset(policy.states) == frozenset(UNIQUE_STATES)
    ends = None if policy.period is None else pg_time(record.inserted_at + int(policy.period * 1e6))[0]
    return _text(_key(record)), _text(record.id), None if usual else array_literal(policy.states), ends


def _changes(record: Record, policy: Unique) -> tuple[Any, ...]:
    """Give the arguments of `kathikon.meet` after the key: what to overwrite, and when to run."""
    replace = policy.replace
    debounced = None
    if policy.debounce is not None:
        debounced = pg_time(record.inserted_at + int(policy.debounce * 1e6))[0]
    return (
        record.args.decode() if "args" in replace else None,
        record.meta.decode() if "meta" in replace else None,
        record.priority if "priority" in replace else None,
        record.max_attempts if "max_attempts" in replace else None,
        pg_time(record.scheduled_at)[0] if "scheduled_at" in replace else None,
        list(record.tags) if "tags" in replace else None,
        debounced,
    )


def _replace(holder: Record, record: Record, policy: Unique) -> None:
    """Overwrite of a job that is inserted in the same breath what its like may."""
    for field in policy.replace:
        setattr(holder, field, getattr(record, field))
    if policy.debounce is not None:
        holder.scheduled_at = record.inserted_at + int(policy.debounce * 1e6)
    if holder.state != "blocked" and (policy.debounce is not None or "scheduled_at" in policy.replace):
        holder.state = "scheduled" if holder.scheduled_at > record.inserted_at else "available"


async def _read(raw: Raw, ids: Iterable[bytes]) -> dict[bytes, Record]:
    """Give jobs by id, whatever codecs the connection has."""
    wanted = [_text(job_id) for job_id in ids]
    if not wanted:
        return {}
    rows = []
    for found in await raw.fetch(statement("read_jobs"), wanted):
        row = list(found)
        for place in _TIMES:
            row[place] = None if row[place] is None else (row[place],)
        for place in _IDS:
            row[place] = None if row[place] is None else UUID(row[place])
        row[_PARENTS] = None if row[_PARENTS] is None else [UUID(parent) for parent in row[_PARENTS]]
        rows.append(row)
    return {record.id: record for record in decode_rows(rows)}


def _text(raw: bytes) -> str:
    return str(as_uuid(raw))
