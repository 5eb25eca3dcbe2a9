"""What a store must do about jobs that hang together: unique keys, dependencies, batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kathikon_actors.jobs.batch import BatchRecord
    from kathikon_actors.jobs.composing import Answer
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.commands import Requested
    from kathikon_actors.store.protocol import Membership

__all__ = ["BatchStore", "GraphStore", "TakeReady"]

TakeReady = Callable[[list["Record"]], None]
"""Takes rows that became ready and are the node's own."""


class BatchStore(Protocol):
    """The part of a store that keeps batches."""

    async def open(self, batch: BatchRecord) -> None:
        """Store a new batch; one that is stored already under this id is left as it is.

        Raises:
            BatchNotFound, BatchClosed: of the outer batch, in which it counts as one more child; nothing was stored.
        """

    async def seal(self, batch_id: bytes) -> BatchRecord:
        """Take no more children; a batch whose children have all ended is resolved. Harmless when it is sealed.

        Raises:
            BatchNotFound: there is none with this id.
        """
        ...

    async def get(self, batch_id: bytes) -> BatchRecord | None:
        """Give one batch."""
        ...

    async def find(self, after: bytes | None, limit: int) -> list[BatchRecord]:
        """Give a page of batches, newest first, older than the one with the id `after`."""
        ...

    async def children(self, parent: bytes, after: bytes | None, limit: int) -> list[Record]:
        """Give a page of a batch's children, or of the jobs that a job has inserted while it ran, by id."""
        ...

    async def retry_failed(self, batch_id: bytes, now: int) -> Requested:
        """Put cancelled and discarded children back and take them out of the counts; none is asked of its owner.

        A batch that was resolved is not any more; it resolves again, with a callback of its own.

        Raises:
            BatchNotFound: there is none with this id.
        """
        ...

    async def prune(self, before: int, limit: int) -> int:
        """Delete batches that were resolved before a time (microseconds since 1970), at most `limit`; give how many."""
        ...


class GraphStore(Protocol):
    """The part of a store that decides on composed inserts, and acts on what their ends mean for others.

    The end of a job resolves its unique key, its dependants and its batch in the transaction that ends it, whichever
    method of the store that is.
    """

    @property
    def batches(self) -> BatchStore:
        """Where batches are kept."""
        ...

    def attach_ready(self, queues: Collection[str], take: TakeReady) -> None:
        """Jobs of these queues that a commit of outcomes made ready are given to the node that committed, by `take`.

        Of many at once none is: they are left unowned, and told, as are those of other queues. The collection is looked
        at with every commit, as a node's queues come and go.
        """

    async def commit_composed(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> dict[bytes, Answer]:
        """As `commit_inserts`, for a batch in which some inserts may meet a unique job, wait, or be refused.

        There is an answer for each that is not stored as it was given, and there may be for others. An id that exists
        is answered with `AlreadyExists`; a job that waits for others is to be among `unowned`.

        Raises:
            LeaseLost: nothing was stored.
        """
        ...

    async def insert_composed(self, records: Sequence[Record], *, whole: bool = False) -> dict[bytes, Answer]:
        """As `insert_unowned`, likewise.

        Args:
            records: each id once.
            whole: store nothing when one of them is refused; its answer says why.
        """
        ...
