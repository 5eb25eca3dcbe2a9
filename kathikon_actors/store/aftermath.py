"""What outcomes mean for other jobs, on the connection that commits them.

The end of a job is seen to by a trigger of the database. Here is the rest: starts that have to be committed, keys
that are let go of without an end, jobs that begin to wait; and how the node learns of jobs that its commit made ready
and that are its own from then on: a notice of the server tells their ids before the commit's answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.rows import decode_rows, pg_id
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["Aftermath", "Ready", "is_starting"]

_NOTICE: Final = "kathikon_ready "


def is_starting(record: Record) -> bool:
    """Tell whether the commit of this record is to say that it starts."""
    return record.extra is not None and record.extra.begun in (1, 3) and record.state == "available"


def _is_guarded(record: Record) -> bool:
    return record.extra is not None and record.extra.guarded is not None


@dataclass(frozen=True)
class Aftermath:
    """What has to be done besides writing the rows of one batch; nothing for plain jobs.

    Attributes:
        starting: guarded jobs that are about to start.
        released: ids of jobs that may have to let go of their keys.
        waiting: ids of jobs that wait for their batches from now on.
        resting: guarded jobs whose run is over, and that may be changed until the next one starts.
    """

    starting: Sequence[Record] = ()
    released: Sequence[Any] = ()
    waiting: Sequence[Any] = ()
    resting: Sequence[Record] = ()

    @classmethod
    def of(cls, records: Sequence[Record]) -> Aftermath | None:
        """Find what there is to do; `None` for nothing."""
        special = [r for r in records if r.extra is not None or r.state == "waiting"]
        if not special:
            return None
        found = cls(
            starting=[r for r in special if is_starting(r)],
            released=[pg_id(r.id) for r in special if _is_guarded(r)],
            waiting=[pg_id(r.id) for r in special if r.state == "waiting"],
            resting=[r for r in special if r.state in ("scheduled", "retryable") and _is_guarded(r)],
        )
        return found if found.starting or found.released or found.waiting else None

    async def before(self, raw: Raw) -> None:
        """Take the locks that come before those on rows of jobs."""
        if self.resting:
            await raw.execute(statement("hold_keys"), self._resting_keys())
        if self.waiting:
            await raw.execute(statement("hold_opened"), self.waiting)

    async def after(self, raw: Raw, membership: Membership) -> set[bytes]:
        """Do the rest; give the ids of starts that are refused, as others have changed those jobs."""
        refused: set[bytes] = set()
        if self.starting:
            extras = [r.extra for r in self.starting if r.extra is not None]
            rows = await raw.fetch(
                statement("begin_guarded"),
                membership.node_id,
                [pg_id(r.id) for r in self.starting],
                [pg_id(extra.unique_key or b"") for extra in extras],
                [extra.guarded for extra in extras],
            )
            refused = {r.id for r in self.starting} - {row[0].bytes for row in rows}
        if self.resting:
            ids = [pg_id(r.id) for r in self.resting]
            await raw.execute(statement("rest_keys"), membership.node_id, ids, self._resting_keys())
        if self.released:
            await raw.execute(statement("release_keys"), self.released)
        if self.waiting:
            await raw.execute(statement("begin_waiting"), self.waiting)
        return refused

    def _resting_keys(self) -> list[Any]:
        return [pg_id(r.extra.unique_key) for r in self.resting if r.extra is not None and r.extra.unique_key]


@dataclass
class Ready:
    """Hears which jobs a commit made ready for its own node.

    Attributes:
        queues: those that the node runs, which may change; for other queues nobody is the owner.
    """

    queues: Collection[str] = ()
    _told: list[str] = field(default_factory=list)
    _set_on: tuple[Raw, int, frozenset[str]] | None = None

    async def prepare(self, raw: Raw, membership: Membership) -> None:
        """Tell the session whose it is."""
        known, queues = self._set_on, frozenset(self.queues)
        if known is not None and known == (raw, membership.node_id, queues):
            return
        if known is None or known[0] is not raw:
            raw.add_log_listener(self._hear)
        await raw.execute(statement("set_home"), str(membership.node_id), "\n".join(sorted(queues)))
        self._set_on = (raw, membership.node_id, queues)
        self._told.clear()

    def _hear(self, _raw: object, message: Any) -> None:
        _, _, ids = str(message).partition(_NOTICE)
        if ids:
            self._told += ids.split(",")

    async def load(self, raw: Raw, membership: Membership) -> list[Record]:
        """Give the jobs that were told of since the last time, those that are still ours."""
        if not self._told:
            return []
        told, self._told = self._told, []
        rows = await raw.fetch(statement("load_ready"), membership.node_id, told)
        return decode_rows(rows, membership.node)

    def attach(self, queues: Collection[str]) -> None:
        """From the next commit on the node takes what becomes ready in these queues."""
        self.queues = queues
