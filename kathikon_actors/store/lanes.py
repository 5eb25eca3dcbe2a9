"""One lane of commits: each batch is one transaction that writes its number and holds the fence.

A batch begins by writing its number into the lane's row, on condition that epoch and session are still its own. A
new life of the node changes the epoch, a new connection the session, and both wait for the commit in flight: what
they find afterwards is final. Small batches are one statement and one round trip, large ones go by COPY.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import AlreadyExists, LeaseLost, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.aftermath import Aftermath, Ready
from kathikon_actors.store.composing import insert_composed
from kathikon_actors.store.keys import TRIES, KeyTaken, by_key, is_of_key, only_keys
from kathikon_actors.store.protocol import Lane, Membership
from kathikon_actors.store.rows import (
    COLUMNS,
    SPARSE,
    Columns,
    copy_rows,
    insert_columns,
    is_plain,
    outcome_columns,
    pg_id,
    wide_rows,
)
from kathikon_actors.store.statements import statement
from kathikon_actors.store.usual import (
    COPY_COLUMNS,
    KEYED_COLUMNS,
    LINKED_COLUMNS,
    PARTITIONED_COLUMNS,
    ends_usually,
    has_only_key,
    has_only_partition,
    holds_key,
    is_usual,
    keyed_rows,
    linked_rows,
    partitioned_rows,
    usual_copies,
    usual_ends,
    usual_inserts,
    was_usual,
)

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Connection, Raw

__all__ = ["CommitLane", "Fence", "claims_fence", "limits_fence"]

_NUMBERS: Final[dict[Lane, int]] = {"inserts": 0, "outcomes": 1}
_CLAIMS: Final = 2
_LIMITS: Final = 3
_COPY_COLUMNS: Final = ("owner", *COLUMNS)
_WIDE_COLUMNS: Final = (*_COPY_COLUMNS, *SPARSE)

SMALL_BATCH: Final = 48
"""Up to so many new rows one statement is faster than COPY with its round trips."""

USUAL_SMALL_BATCH: Final = 256
"""The same for rows of few columns."""

WARY: Final = 16
"""After a key was found taken so many batches look first: where many conflict, a COPY in good faith is in vain."""


class Fence:
    """The row of one lane, attached to one connection: what an earlier one still had under way commits nothing."""

    def __init__(self, lane: int) -> None:
        self._lane = lane
        self._attached: tuple[Raw, Membership, int] | None = None

    async def key(self, raw: Raw, membership: Membership) -> tuple[int, int, int, int]:
        """Give node, lane, epoch and session: the key of the lane's row while nobody took it away."""
        if self._attached is None or self._attached[0] is not raw or self._attached[1] != membership:
            await self.attach(raw, membership)
        assert self._attached is not None
        return membership.node_id, self._lane, membership.epoch, self._attached[2]

    async def attach(self, raw: Raw, membership: Membership) -> int:
        """Take the lane for this connection, after the commit in flight; give the number of the last batch.

        Raises:
            LeaseLost: the epoch was replaced.
        """
        row = await raw.fetchrow(statement("attach_lane"), membership.node_id, self._lane, membership.epoch)
        if row is None:
            raise LeaseLost(membership.node, membership.epoch)
        self._attached = (raw, membership, row["session"])
        batch: int = row["batch"]
        return batch


def claims_fence() -> Fence:
    """Give the fence of claims and of all else that moves rows between owners."""
    return Fence(_CLAIMS)


def limits_fence() -> Fence:
    """Give the fence of bids for tokens and slots."""
    return Fence(_LIMITS)


class CommitLane:
    """Commits of one lane, one after another on one connection."""

    def __init__(self, lane: Lane, connection: Connection) -> None:
        self.connection = connection
        self.ready = Ready()
        self._wary = 0
        self._fence = Fence(_NUMBERS[lane])

    async def insert(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> set[bytes]:
        """See `Store.commit_inserts`."""
        if may_conflict and records:
            free = [pg_id(job_id) for job_id in unowned]
            return await self.connection.run(self._insert_new, membership, batch, insert_columns(records), free)
        usual = all(map(was_usual, records))
        if 0 < len(records) <= (USUAL_SMALL_BATCH if usual else SMALL_BATCH) and not unowned:
            name, arrays = ("insert_usual", usual_inserts) if usual else ("insert_rows", insert_columns)
            await self.connection.run(self._insert_small, membership, batch, name, arrays(records))
            return set()
        left = {record.queue for record in records if record.id in unowned} if unowned else set()
        if usual:
            copies = usual_copies(membership.node_id, records, unowned)
            await self.connection.run(self._copy_usual, membership, batch, copies, left)
            return set()
        columns: tuple[str, ...]
        if all(map(has_only_partition, records)):
            columns, make_rows = PARTITIONED_COLUMNS, partitioned_rows
        elif all(map(is_plain, records)):
            columns, make_rows = _COPY_COLUMNS, copy_rows
        else:
            columns, make_rows = _WIDE_COLUMNS, wide_rows
        rows = make_rows(membership.node_id, records)
        if unowned:
            for number, record in enumerate(records):
                if record.id in unowned:
                    rows[number] = (None, *rows[number][1:])
        await self.connection.run(self._copy, membership, batch, columns, rows, left)
        return set()

    async def insert_composed(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> dict[bytes, Answer]:
        """See `Store.commit_composed`."""
        if self._wary:
            self._wary -= 1
        elif not may_conflict and (keys := only_keys(records)) is not None:
            try:
                await self.connection.run(self._insert_keyed, membership, batch, by_key(records), keys, unowned)
            except (KeyTaken, AlreadyExists):
                self._wary = WARY
            else:
                return {}
        for _ in range(TRIES):
            try:
                return await self.connection.run(
                    self._insert_composed, membership, batch, records, unowned, may_conflict
                )
            except KeyTaken:
                pass
            except AlreadyExists:
                # Somebody was faster with an id; now it is there to be seen.
                may_conflict = True
        raise StoreUnavailable(f"others were faster with the keys of a batch {TRIES} times; nothing of it was stored")

    async def write_outcomes(
        self, membership: Membership, batch: int, records: Sequence[Record]
    ) -> tuple[set[bytes], list[Record]]:
        """See `Store.commit_outcomes`; give also the jobs that the commit made ready, and that are the node's own."""
        usual = [record for record in records if ends_usually(record)]
        others = [record for record in records if not ends_usually(record)] if len(usual) < len(records) else []
        finished = [record for record in others if record.fence >= 0 and record.state in TERMINAL_STATES]
        # By id, as those who insert dependants lock them: nobody waits in a circle.
        usual.sort(key=_by_id)
        finished.sort(key=_by_id)
        changed = [record for record in others if record.fence >= 0 and record.state not in TERMINAL_STATES]
        fresh = [record for record in others if record.fence < 0] if len(finished) + len(changed) < len(others) else []
        aftermath = Aftermath.of(changed) if changed else None
        if aftermath is not None and aftermath.starting:
            # Nothing else of those has changed, and what is known of them may be old.
            changed = [record for record in changed if record.extra is None or record.extra.begun != 1]
        steps: list[tuple[str, Columns]] = []
        if usual:
            steps.append(("complete_rows", usual_ends(usual)))
        if finished:
            steps.append(("finish_rows", outcome_columns(finished)))
        if changed or not (steps or fresh):
            steps.append(("change_rows", outcome_columns(changed)))
        rows: dict[str, list[tuple[Any, ...]]] = {}
        if fresh:
            owner = membership.node_id
            rows["jobs"] = wide_rows(owner, [r for r in fresh if r.state not in TERMINAL_STATES])
            rows["finished_jobs"] = wide_rows(owner, [r for r in fresh if r.state in TERMINAL_STATES])
        return await self.connection.run(self._write, membership, batch, steps, rows, aftermath)

    async def last_batch(self, membership: Membership) -> int:
        """See `Store.last_batch`. On a new connection it waits for the last one's commit and shuts it out."""
        return await self.connection.run(self._last_batch, membership)

    async def _last_batch(self, raw: Raw, membership: Membership) -> int:
        return await self._fence.attach(raw, membership)

    async def _insert_small(self, raw: Raw, membership: Membership, batch: int, name: str, columns: Columns) -> None:
        fence = await self._fence.key(raw, membership)
        try:
            status = await raw.execute(statement(name), *fence, batch, *columns)
        except asyncpg.UniqueViolationError as error:
            raise _already_exists(error) from None
        if status == "INSERT 0 0":
            raise LeaseLost(membership.node, membership.epoch)

    async def _copy_usual(
        self, raw: Raw, membership: Membership, batch: int, copies: list[bytes], left: Collection[str]
    ) -> None:
        async def put() -> None:
            for copy in copies:
                source: Any = memoryview(copy)  # asyncpg would take bytes for the name of a file
                await raw.copy_to_table(
                    "jobs", schema_name="kathikon", columns=COPY_COLUMNS, source=source, format="binary"
                )

        await self._put(raw, membership, batch, put, left)

    async def _copy(
        self,
        raw: Raw,
        membership: Membership,
        batch: int,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
        left: Collection[str],
    ) -> None:
        async def put() -> None:
            await raw.copy_records_to_table("jobs", schema_name="kathikon", columns=columns, records=rows)

        await self._put(raw, membership, batch, put, left)

    async def _put(
        self, raw: Raw, membership: Membership, batch: int, put: Callable[[], Awaitable[None]], left: Collection[str]
    ) -> None:
        """Run `put` as a batch of new rows."""
        await self._begin(raw, membership, batch)
        try:
            await put()
        except asyncpg.UniqueViolationError as error:
            await raw.execute("ROLLBACK")
            raise _already_exists(error) from None
        if left:
            await raw.execute(statement("tell"), ",".join(left))
        await raw.execute("COMMIT")

    async def _insert_new(
        self, raw: Raw, membership: Membership, batch: int, columns: Columns, free: list[Any]
    ) -> set[bytes]:
        await self._begin(raw, membership, batch)
        owner = membership.node_id
        ids = columns[COLUMNS.index("id")]
        inserted = await raw.fetch(statement("insert_new_rows"), owner, *columns)
        undone = await raw.fetch(statement("undo_finished_inserts"), ids)
        existed = {job_id.bytes for job_id in ids}
        existed.difference_update(row[0].bytes for row in inserted)
        existed.update(row[0].bytes for row in undone)
        if existed:
            ours = await raw.fetch(statement("stored_already"), owner, ids, columns[COLUMNS.index("inserted_at")], free)
            existed.difference_update(row[0].bytes for row in ours)
        if free:
            await raw.execute(statement("disown"), owner, free)
        await raw.execute("COMMIT")
        return existed

    async def _insert_keyed(
        self,
        raw: Raw,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        keys: list[Any],
        unowned: Collection[bytes],
    ) -> None:
        """Store rows that hold their keys by themselves, in the hope that each key is free."""
        await self._begin(raw, membership, batch)
        left = await self._copy_linked(raw, membership, records, unowned)
        if await raw.fetchval(statement("keys_held"), keys):
            await raw.execute("ROLLBACK")
            raise KeyTaken
        if left:
            await raw.execute(statement("tell"), ",".join(left))
        await raw.execute("COMMIT")

    async def _insert_composed(
        self,
        raw: Raw,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        unowned: Collection[bytes],
        check_ids: bool,
    ) -> dict[bytes, Answer]:
        left: set[str] = set()

        async def store_rows(stored: list[Record]) -> None:
            left.update(await self._copy_linked(raw, membership, stored, unowned))

        await self._begin(raw, membership, batch)
        try:
            answers = await insert_composed(raw, records, store_rows, check_ids=check_ids, own_codecs=True)
        except KeyTaken:
            if raw.is_in_transaction():
                await raw.execute("ROLLBACK")
            raise
        if left:
            await raw.execute(statement("tell"), ",".join(left))
        await raw.execute("COMMIT")
        return answers

    async def _copy_linked(
        self, raw: Raw, membership: Membership, records: Sequence[Record], unowned: Collection[bytes]
    ) -> set[str]:
        """Store rows of jobs that may be linked to others; give the queues of those that nobody owns.

        Raises:
            AlreadyExists, KeyTaken: the transaction has ended.
        """
        columns: tuple[str, ...]
        if not all(map(is_usual, records)):
            columns = (*_WIDE_COLUMNS, "holds_key")
            rows = wide_rows(membership.node_id, records)
            rows = [(*row, holds_key(record)) for row, record in zip(rows, records, strict=True)]
        elif all(map(has_only_key, records)):
            columns, rows = KEYED_COLUMNS, keyed_rows(membership.node_id, records)
        else:
            columns, rows = LINKED_COLUMNS, linked_rows(membership.node_id, records)
        left: set[str] = set()
        if unowned:
            for number, record in enumerate(records):
                if record.id in unowned:
                    rows[number] = (None, *rows[number][1:])
                    left.add(record.queue)
        try:
            await raw.copy_records_to_table("jobs", schema_name="kathikon", columns=columns, records=rows)
        except asyncpg.UniqueViolationError as error:
            await raw.execute("ROLLBACK")
            raise (KeyTaken() if is_of_key(error) else _already_exists(error)) from None
        return left

    async def _write(
        self,
        raw: Raw,
        membership: Membership,
        batch: int,
        steps: list[tuple[str, Columns]],
        rows: dict[str, list[tuple[Any, ...]]],
        aftermath: Aftermath | None,
    ) -> tuple[set[bytes], list[Record]]:
        fence = await self._fence.key(raw, membership)
        await self.ready.prepare(raw, membership)
        several = len(steps) > 1 or bool(rows) or aftermath is not None
        if several:
            await self._begin(raw, membership, batch)
        if aftermath is not None:
            await aftermath.before(raw)
        ends = [columns[0] for name, columns in steps if name != "change_rows"]
        if len(ends) > 1:
            # In one order, before anything that an end is followed by: who inserts dependants locks them so, too.
            await raw.execute(statement("hold_rows"), [job_id for ids in ends for job_id in ids])
        for table, fresh in rows.items():
            if fresh:
                await raw.copy_records_to_table(table, schema_name="kathikon", columns=_WIDE_COLUMNS, records=fresh)
        fenced: set[bytes] = set()
        for name, columns in steps:
            row = await raw.fetchrow(statement(name), *fence, batch, *columns)
            assert row is not None
            if not row["member"]:
                if several:
                    await raw.execute("ROLLBACK")
                raise LeaseLost(membership.node, membership.epoch)
            if row["done"] is not None:
                fenced.update(job_id.bytes for job_id in columns[0])
                fenced.difference_update(job_id.bytes for job_id in row["done"])
        if aftermath is not None:
            fenced |= await aftermath.after(raw, membership)
        if several:
            await raw.execute("COMMIT")
        return fenced, await self.ready.load(raw, membership)

    async def _begin(self, raw: Raw, membership: Membership, batch: int) -> None:
        """Open a transaction that holds the lane's row, in one round trip."""
        node_id, lane, epoch, session = await self._fence.key(raw, membership)
        begin = statement("begin_batch").format(batch=batch, node_id=node_id, lane=lane, epoch=epoch, session=session)
        if await raw.execute(begin) != "UPDATE 1":
            await raw.execute("ROLLBACK")
            raise LeaseLost(membership.node, membership.epoch)


def _by_id(record: Record) -> bytes:
    return record.id


def _already_exists(error: asyncpg.UniqueViolationError) -> AlreadyExists:
    # The detail reads: Key (id)=(0190...) already exists.
    found = str(error.detail).partition("=(")[2].partition(")")[0]
    try:
        return AlreadyExists(UUID(found))
    except ValueError:
        return AlreadyExists(found or "unknown")
