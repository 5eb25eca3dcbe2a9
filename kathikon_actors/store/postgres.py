"""The store on Postgres: two lanes for commits, two readers, a connection each for names, claims, notices, snapshots.

It runs on asyncpg under trio-asyncio, so `open_loop` must be around it. Advisory locks, prepared statements and
session settings belong to a session: connect to Postgres itself, not through a pooler of transactions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import BadConfiguration, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.store import lanes, names
from kathikon_actors.store.batches import PostgresBatches
from kathikon_actors.store.broadcasting import PostgresBroadcasts
from kathikon_actors.store.connection import BY_INDEX, ONE_PLAN, Connection, Pool
from kathikon_actors.store.crons import PostgresCrons
from kathikon_actors.store.event_post import PostgresEventPost
from kathikon_actors.store.fairness import claim_each
from kathikon_actors.store.granting import PostgresLimits
from kathikon_actors.store.leading import lead, resign
from kathikon_actors.store.listening import Ear
from kathikon_actors.store.managing import change_row
from kathikon_actors.store.migrations import migrate
from kathikon_actors.store.operating import PostgresOperations
from kathikon_actors.store.outside import count_rows, find_rows, get_row, insert_composed_rows, insert_rows
from kathikon_actors.store.protocol import Changed, Counts, DeadNode, Lane, Membership, Page, Unowned
from kathikon_actors.store.reading import claim_rows, load_rows, look_at_rows, release_rows
from kathikon_actors.store.refusing import refusing
from kathikon_actors.store.rescue import fence_dead, take_over_rows
from kathikon_actors.store.rotating import PostgresSealed
from kathikon_actors.store.rows import pg_id
from kathikon_actors.store.snapshots import PostgresSnapshotStore
from kathikon_actors.store.urls import parse_store_url
from kathikon_actors.telemetry.telling import Telling

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.graph import TakeReady

__all__ = ["PostgresStore"]

T = TypeVar("T")

_READERS: Final = 2


class PostgresStore(PostgresOperations):
    """A `Store` in a Postgres database, schema `kathikon`.

    Args:
        dsn: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with the options that libpq and asyncpg know.
        url: what the user gave, when that was another URL (`embedded:PATH`).
        timeout: seconds until a server that does not answer counts as gone, for each statement or batch.

    Raises:
        BadConfiguration: `dsn` is not a Postgres URL.

    Example:
        ```python
        async with open_loop():
            store = PostgresStore("postgresql://localhost/shop")
            await store.open()
            membership = await store.join("node-1", lease=30)
        ```
    """

    def __init__(self, dsn: str, *, url: str | None = None, timeout: float = 30.0) -> None:
        parsed = parse_store_url(dsn)
        if parsed.kind != "postgresql":
            raise BadConfiguration(f'"{parsed.safe}" is not a Postgres URL; give "postgresql://USER@HOST/DATABASE"')
        self.url = parsed.safe if url is None else url
        self._where = parsed.where
        self._is_open = False
        self._take_ready: TakeReady | None = None
        self.telling = Telling()
        inserts = Connection(parsed, timeout, ONE_PLAN, self.telling, later=True)
        outcomes = Connection(parsed, timeout, ONE_PLAN, self.telling)
        self._lanes: dict[Lane, lanes.CommitLane] = {
            "inserts": lanes.CommitLane("inserts", inserts),
            "outcomes": lanes.CommitLane("outcomes", outcomes),
        }
        self._names = names.Names(Connection(parsed, timeout))
        self._claims = Connection(parsed, timeout, BY_INDEX, self.telling)
        self._fence = lanes.claims_fence()
        self._ear = Ear(Connection(parsed, timeout), self._own_backends)
        self._readers = Pool(parsed, timeout, _READERS, self.telling)
        self.broadcasts = PostgresBroadcasts(self._claims, self._fence, self._check_open)
        self.limits = PostgresLimits(Connection(parsed, timeout, BY_INDEX), self._ear, self._check_open)
        self.snapshots = PostgresSnapshotStore(Pool(parsed, timeout, 1), self._check_open)

    async def open(self) -> None:
        """Connect every connection that works all the time, and bring the schema up to date.

        Raises:
            StoreUnavailable: the server cannot be reached, or refuses.
            BadConfiguration: the schema, the server's version or the URL does not fit this version.
        """
        refused: list[Exception] = []

        async def connect(run: Callable[..., Awaitable[object]], work: Callable[[Raw], Awaitable[object]]) -> None:
            try:
                await run(work)
            except Exception as error:  # raised below, by itself
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, self._readers.run, migrate)
            for connection in self._connections():
                nursery.start_soon(connect, connection.run, _nothing)
        for error in refused:
            raise error
        self._is_open = True

    async def close(self) -> None:
        """Let go of every connection; what is in flight is rolled back."""
        self._is_open = False
        for connection in self._connections():
            await connection.close()
        await self._readers.close()
        await self.snapshots.pool.close()
        await self.limits.connection.close()

    async def join(self, node: str, lease: float) -> Membership:
        """See `Store.join`."""
        self._check_open()
        return await self._names.join(node, lease)

    async def renew(self, membership: Membership, lease: float) -> None:
        """See `Store.renew`."""
        self._check_open()
        await self._names.renew(membership, lease)

    async def leave(self, membership: Membership) -> None:
        """See `Store.leave`."""
        self._check_open()
        await self._names.leave(membership)

    @property
    def sealed(self) -> PostgresSealed:
        """See `Store.sealed`."""
        self._check_open()
        return PostgresSealed(self._readers.run)

    @property
    def crons(self) -> PostgresCrons:
        """See `Store.crons`."""
        self._check_open()
        return PostgresCrons(self._readers.run)

    @property
    def post(self) -> PostgresEventPost:
        """See `Store.post`."""
        return PostgresEventPost(self._read)

    async def _read(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        self._check_open()
        return await self._readers.run(work, *args)

    async def lead(self, membership: Membership, lease: float) -> int | None:
        """See `Store.lead`."""
        self._check_open()
        return await self._readers.run(lead, membership, lease)

    async def resign(self, membership: Membership) -> None:
        """See `Store.resign`."""
        self._check_open()
        await self._readers.run(resign, membership)

    async def commit_inserts(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> set[bytes]:
        """See `Store.commit_inserts`."""
        self._check_open()
        with refusing():
            return await self._lanes["inserts"].insert(
                membership, batch, records, may_conflict=may_conflict, unowned=unowned
            )

    async def commit_outcomes(self, membership: Membership, batch: int, records: Sequence[Record]) -> set[bytes]:
        """See `Store.commit_outcomes`."""
        self._check_open()
        with refusing():
            fenced, ready = await self._lanes["outcomes"].write_outcomes(membership, batch, records)
        if ready and self._take_ready is not None:
            self._take_ready(ready)
        return fenced

    def attach_ready(self, queues: Collection[str], take: TakeReady) -> None:
        """See `GraphStore.attach_ready`."""
        self._lanes["outcomes"].ready.attach(queues)
        self._take_ready = take

    async def commit_composed(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> dict[bytes, Answer]:
        """See `GraphStore.commit_composed`."""
        self._check_open()
        with refusing():
            return await self._lanes["inserts"].insert_composed(
                membership, batch, records, may_conflict=may_conflict, unowned=unowned
            )

    async def insert_composed(self, records: Sequence[Record], *, whole: bool = False) -> dict[bytes, Answer]:
        """See `GraphStore.insert_composed`."""
        self._check_open()
        return await self._readers.run(insert_composed_rows, records, whole, False)

    @property
    def batches(self) -> PostgresBatches:
        """See `GraphStore.batches`."""
        return PostgresBatches(self._readers)

    async def last_batch(self, membership: Membership, lane: Lane) -> int:
        """See `Store.last_batch`."""
        self._check_open()
        return await self._lanes[lane].last_batch(membership)

    async def load_owned(self, membership: Membership, after: bytes | None, limit: int) -> list[Record]:
        """See `Store.load_owned`."""
        self._check_open()
        return await self._claims.run(load_rows, self._fence, membership, after, limit)

    async def claim(
        self, membership: Membership, queues: Sequence[str], limit: int, passing: Collection[str] = ()
    ) -> list[Record]:
        """See `Store.claim`."""
        self._check_open()
        return await self._claims.run(claim_rows, self._fence, membership, list(queues), limit, list(passing))

    async def claim_each(self, membership: Membership, queue: str, present: Sequence[str], limit: int) -> list[Record]:
        """See `FairStore.claim_each`."""
        self._check_open()
        return await self._claims.run(claim_each, self._fence, membership, queue, list(present), limit)

    async def release(self, membership: Membership, ids: Sequence[bytes]) -> None:
        """See `Store.release`."""
        self._check_open()
        await self._claims.run(release_rows, self._fence, membership, [pg_id(job_id) for job_id in ids])

    async def listen(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `Store.listen`."""
        self._check_open()
        await self._ear.listen(wake)

    async def look(
        self, queues: Sequence[str], passing: Mapping[str, Collection[str]] | None = None
    ) -> dict[str, Unowned]:
        """See `Store.look`."""
        self._check_open()
        return await self._claims.run(look_at_rows, list(queues), passing or {})

    async def fence_dead(self, membership: Membership) -> list[DeadNode]:
        """See `Store.fence_dead`."""
        self._check_open()
        return await self._claims.run(fence_dead, membership)

    async def take_over(self, membership: Membership, dead: DeadNode, after: bytes | None, limit: int) -> list[Record]:
        """See `Store.take_over`."""
        self._check_open()
        return await self._claims.run(take_over_rows, self._fence, membership, dead, after, limit)

    async def change(
        self, job_id: bytes, change: Change, *, membership: Membership | None = None, queues: Collection[str] = ()
    ) -> Changed:
        """See `Store.change`."""
        self._check_open()
        return await self._readers.run(change_row, job_id, change, membership, queues)

    async def insert_unowned(self, records: Sequence[Record]) -> set[bytes]:
        """See `Store.insert_unowned`."""
        self._check_open()
        return set(await self._readers.run(insert_rows, records, False))

    async def get(self, job_id: bytes) -> Record | None:
        """See `Store.get`."""
        self._check_open()
        return await self._readers.run(get_row, job_id)

    async def find(self, page: Page) -> list[Record]:
        """See `Store.find`."""
        self._check_open()
        return await self._readers.run(find_rows, page)

    async def counts(self) -> list[Counts]:
        """See `Store.counts`."""
        self._check_open()
        return await self._readers.run(count_rows)

    def _connections(self) -> list[Connection]:
        lanes = [lane.connection for lane in self._lanes.values()]
        return [*lanes, self._names.connection, self._claims, self._ear.connection]

    def _own_backends(self) -> set[int]:
        own = (self._lanes["inserts"].connection.raw, self._claims.raw, self.limits.connection.raw)
        return {raw.get_server_pid() for raw in own if raw is not None and not raw.is_closed()}

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable(f"{self._where}: the store is closed; open it first")

    def __repr__(self) -> str:
        return f"<PostgresStore {self.url}{'' if self._is_open else ', closed'}>"


async def _nothing(_raw: Raw) -> None:
    return None
