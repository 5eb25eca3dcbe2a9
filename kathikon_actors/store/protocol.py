"""What a store must do. One conformance suite holds for every implementation.

A store knows rows, nodes and fences; it knows nothing of heaps, processes or supervision. Every write names the
membership it is made under and the number of the batch it belongs to: a membership whose epoch was replaced can
write nothing more, and after a cut connection `last_batch` tells whether the batch in doubt was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import State
from kathikon_actors.store.broadcasts import BroadcastStore
from kathikon_actors.store.commands import CommandStore
from kathikon_actors.store.cron_store import CronStore
from kathikon_actors.store.declaring import DeclarationStore
from kathikon_actors.store.event_post import EventPost
from kathikon_actors.store.fairness import FairStore
from kathikon_actors.store.figures import FigureStore
from kathikon_actors.store.graph import GraphStore
from kathikon_actors.store.leading import LeaderStore
from kathikon_actors.store.limits import LimitStore
from kathikon_actors.store.queue_store import QueueStore
from kathikon_actors.store.retaining import RetentionStore
from kathikon_actors.store.rotating import SealedStore
from kathikon_actors.store.snapshots import SnapshotStore
from kathikon_actors.telemetry.telling import Telling

__all__ = [
    "CLAIMABLE_STATES",
    "MAX_PAGE",
    "Changed",
    "Counts",
    "DeadNode",
    "Key",
    "Lane",
    "Membership",
    "Page",
    "RowsRefused",
    "Store",
    "Unowned",
    "key_of",
]

CLAIMABLE_STATES: Final[frozenset[State]] = frozenset({"available", "scheduled", "retryable"})
"""A row that no node owns may be claimed in these states, once its `scheduled_at` has come."""

MAX_PAGE: Final = 10_000
"""The most rows that `Store.find` gives at once."""

Lane = Literal["inserts", "outcomes"]
"""Each lane has a connection of its own and one commit in flight."""


class RowsRefused(KathikonError):
    """The store will never take one of the rows of a batch, and does not say which."""


@dataclass(frozen=True)
class Membership:
    """A node's place on a store, from joining until it leaves, loses its lease or is replaced.

    Attributes:
        node: the node's name.
        node_id: its number in the store, the same for every life of that name: the owner written into rows.
        epoch: grows with every life; every commit is fenced by it.
    """

    node: str
    node_id: int
    epoch: int


Key = tuple[int, int, bytes]
"""Where a ready job stands in its queue: minus priority, due time, id. Smaller starts first."""


def key_of(record: Record) -> Key:
    """Give the place of a ready job in its queue."""
    return (-record.priority, record.scheduled_at, record.id)


@dataclass(frozen=True)
class DeadNode:
    """A node that left, or whose lease ran out; nothing of it commits any more.

    Attributes:
        epoch: as it is now; a new life of the name has a higher one.
        crashed: it did not leave in order.
    """

    node: str
    node_id: int
    epoch: int
    crashed: bool


@dataclass(frozen=True)
class Unowned:
    """What of one queue nobody owns.

    Attributes:
        best: the place of the best `available` row, `None` when there is none.
        due_in: seconds until the first row that waits for its time is due, by the store's clock; 0 or less when it
            is, `None` when there is none.
    """

    best: Key | None = None
    due_in: float | None = None


@dataclass(frozen=True)
class Page:
    """Which jobs to list.

    Attributes:
        wanted: those that meet these conditions.
        after: a keyset page begins after this id.
        newest_first: by id, which sorts by time of insert.
        limit: rows a page, at most `MAX_PAGE`.
    """

    wanted: Filter = field(default_factory=Filter)
    after: bytes | None = None
    newest_first: bool = True
    limit: int = 100


@dataclass(frozen=True)
class Counts:
    """How many jobs of one queue are in each state, the finished ones included."""

    queue: str
    by_state: dict[State, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """What an operator's action left in the store.

    Attributes:
        record: the job as it is now.
        made: the new job of a rerun.
    """

    record: Record
    made: Record | None = None


class Store(
    FairStore,
    GraphStore,
    LeaderStore,
    CommandStore,
    QueueStore,
    DeclarationStore,
    RetentionStore,
    FigureStore,
    Protocol,
):
    """Where jobs are kept. Methods are safe to call from several tasks; each raises `StoreUnavailable` when cut off."""

    url: str
    """What the user gave, without secrets: for errors and the tree."""

    telling: Telling
    """Told, once it is committed, what transactions have done to jobs and batches by themselves: what ends meant for
    others, and what operators did to jobs that no node owns. What happened to new jobs of `commit_composed` waits for
    its `flush`, as they are told as inserted by whoever committed them."""

    @property
    def broadcasts(self) -> BroadcastStore:
        """What was announced to all nodes."""
        ...

    @property
    def limits(self) -> LimitStore:
        """Where limits that hold across the cluster are kept."""
        ...

    @property
    def snapshots(self) -> SnapshotStore:
        """Where the snapshots of actors are kept."""
        ...

    @property
    def sealed(self) -> SealedStore:
        """What a rotation of keys goes through."""
        ...

    @property
    def post(self) -> EventPost | None:
        """What carries events to programs outside; `None` where nobody outside can be."""
        ...

    @property
    def crons(self) -> CronStore:
        """Where the cron entries are kept."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Called again after a cut."""

    async def close(self) -> None:
        """Let go of every connection; safe to call twice and after a cut."""

    async def join(self, node: str, lease: float) -> Membership:
        """Take the name `node` for `lease` seconds, under a new epoch that fences every earlier one.

        A name whose last life is gone (its session ended) is taken over at once, also while its lease lives.

        Raises:
            NodeNameTaken: a live node has this name.
        """
        ...

    async def renew(self, membership: Membership, lease: float) -> None:
        """Move the lease's end to `lease` seconds from now, by the store's clock.

        After a cut it also binds the name to the new session, so that the name is not free for others.

        Raises:
            LeaseLost: the epoch was replaced.
        """

    async def leave(self, membership: Membership) -> None:
        """End the lease and commit nothing more under it; without effect when another life has the name.

        Rows stay owned by the name, for its next life or for whoever rescues them.
        """

    async def commit_inserts(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> set[bytes]:
        """Store new rows in one transaction, owned by the node; give the ids that existed already (not changed).

        A row that this node stored before with the same id and `inserted_at` is this very row (the batch is tried
        again) and counts as stored, not as existing. Record.node, fence and dirty are not stored: the first follows
        from who owns the row, the others belong to the caller.

        Args:
            membership: fences the commit.
            batch: written in the same transaction, so that `last_batch` can tell; larger than every one before it.
            records: live states, each id once; unchanged by the store, and read before the first checkpoint.
            may_conflict: some ids were given by callers, or the batch is tried again. Without it the fast path is
                taken, and an id that exists is an error of the caller.
            unowned: ids of those that nobody is to own; whoever listens is told. Tried again, such a row counts as
                this very row whoever has it now.

        Raises:
            LeaseLost: nothing was stored.
            AlreadyExists: without `may_conflict`; nothing was stored.
            RowsRefused: `last_batch` tells whether anything was stored.
        """
        ...

    async def commit_outcomes(self, membership: Membership, batch: int, records: Sequence[Record]) -> set[bytes]:
        """Write the present state of each record in one transaction; give the ids whose fence did not hold.

        A terminal record leaves the live rows and joins the finished ones in the same transaction. A write counts
        only if the stored row is still owned by the node and its attempt equals `record.fence`; what does not
        match is left untouched and reported. The caller moves `record.fence` after the commit. Each id comes once;
        the records are read before the first checkpoint.

        A record whose fence is -1 has no row: it is stored as it is, owned by the node; when it has ended already,
        among the finished ones.

        Raises:
            LeaseLost: nothing was stored.
            RowsRefused: `last_batch` tells whether anything was stored.
        """
        ...

    async def last_batch(self, membership: Membership, lane: Lane) -> int:
        """Give the number of the last batch that was committed in this lane under this membership, 0 for none.

        The answer is final: a commit that was still on its way when this was asked is refused.

        Raises:
            LeaseLost: the epoch was replaced.
        """
        ...

    async def load_owned(self, membership: Membership, after: bytes | None, limit: int) -> list[Record]:
        """Give the node's own live rows by id, a page after `after`: what a new life of the node goes on with.

        `fence` is set to the stored attempt, `node` to the node's name; an `executing` row of an earlier life comes
        back as it is. A row that cannot be decoded is left out, and a warning names it; it counts as part of the
        page, so only an empty page is the last one.

        Raises:
            LeaseLost: the epoch was replaced.
        """
        ...

    async def claim(
        self, membership: Membership, queues: Sequence[str], limit: int, passing: Collection[str] = ()
    ) -> list[Record]:
        """Take up to `limit` due rows that no node owns, best priority first; concurrent claims never share a row.

        Rows of the workers in `passing` are passed over.

        Due is a state of `CLAIMABLE_STATES` whose `scheduled_at` has come by the store's clock. `fence` and `node`
        are set as by `load_owned`. After `StoreUnavailable` rows may have been claimed that the caller was not
        told of: `load_owned` gives them.

        Raises:
            LeaseLost: the epoch was replaced; nothing was claimed.
        """
        ...

    async def release(self, membership: Membership, ids: Sequence[bytes]) -> None:
        """Let go of live rows of this node, so that any node may claim them; an id that is not its own is left alone.

        Raises:
            LeaseLost: the epoch was replaced; nothing was released.
        """
        ...

    async def change(
        self, job_id: bytes, change: Change, *, membership: Membership | None = None, queues: Collection[str] = ()
    ) -> Changed:
        """Apply an operator's action to a row that no live node owns, in one transaction.

        What is live afterwards belongs to the node of `membership` if its queue is one of `queues`, else to nobody.
        A row that a node left behind (it left in order, or its lease has run out) may be changed; the node's next
        life does not see it as it was. After `StoreUnavailable` it may have been changed.

        Raises:
            JobNotFound: there is no such row.
            InvalidState: its state does not offer the action; nothing was changed.
            OwnedElsewhere: a live node owns it, the one of `membership` included; nothing was changed.
            LeaseLost: the epoch was replaced; nothing was changed.
        """
        ...

    async def insert_unowned(self, records: Sequence[Record]) -> set[bytes]:
        """Store new rows that no node owns, in one transaction; give the ids that existed already (not changed)."""
        ...

    async def listen(self, wake: Callable[[frozenset[str]], None]) -> None:
        """From now on call `wake` with the names of queues in which rows were left unowned; one listener a store.

        Rows that this store itself left are not told. An empty set says that any queue may be meant, or that the
        store stopped listening. To be called again now and then: it listens again after a cut, and is free otherwise.
        """

    async def look(
        self, queues: Sequence[str], passing: Mapping[str, Collection[str]] | None = None
    ) -> dict[str, Unowned]:
        """Tell what of these queues nobody owns: a few index look-ups.

        Args:
            queues: their names.
            passing: by queue: workers whose rows are passed over.
        """
        ...

    async def fence_dead(self, membership: Membership) -> list[DeadNode]:
        """See to it that nodes whose lease ran out commit nothing more; give all, left or dead, that may own rows.

        Dead is by the store's clock. What such a node had begun to commit is committed or rolled back when this
        returns; `LeaseLost` is all it meets from then on.

        Raises:
            LeaseLost: the caller's own epoch was replaced.
        """
        ...

    async def take_over(self, membership: Membership, dead: DeadNode, after: bytes | None, limit: int) -> list[Record]:
        """Take the rows of a dead node by id, a page after `after`; an empty page is the last one.

        `orphaned` grows by one when the node crashed. Rows come in whatever state they are stored, `executing`
        included; `fence` and `node` are set as by `load_owned`. A node that lives again gives an empty page. After
        `StoreUnavailable` rows may have been taken that the caller was not told of, as with `claim`.

        Raises:
            LeaseLost: the caller's own epoch was replaced; nothing was taken.
        """
        ...

    async def get(self, job_id: bytes) -> Record | None:
        """Give the row of one job, live or finished."""
        ...

    async def find(self, page: Page) -> list[Record]:
        """Give one page of jobs, live and finished."""
        ...

    async def counts(self) -> list[Counts]:
        """Count jobs by queue and state."""
        ...
