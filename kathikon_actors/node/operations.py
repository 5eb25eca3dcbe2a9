"""What an operator does to many jobs: the same on nodes and on clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kathikon_actors.jobs.actions import Change, check_delay
from kathikon_actors.jobs.errors import BadConfiguration, KathikonError, UnknownOption
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import IdSource, as_uuid
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.states import TERMINAL_STATES, Action, State
from kathikon_actors.node.asking import ANSWER_TIMEOUT, await_answers
from kathikon_actors.node.inspecting import Inspection
from kathikon_actors.node.listing import page_of
from kathikon_actors.store.commands import Requested, wanted_states

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from kathikon_actors.store.retaining import Pruned

__all__ = ["ChangedMany", "Operations"]


@dataclass(frozen=True)
class ChangedMany:
    """What a bulk action did.

    Attributes:
        changed: how many jobs.
        errors: `(id, error)` of those that were not changed.
    """

    changed: int
    errors: list[tuple[UUID, KathikonError]]

    @classmethod
    def of(cls, found: Requested) -> ChangedMany:
        """Give what was changed."""
        errors = [(as_uuid(job_id), error) for job_id, error in sorted(found.errors.items())]
        return cls(len(found.done), errors)


class Operations(Inspection):
    """The part of `Node` and `Client` that lists jobs and changes many of them."""

    @abstractmethod
    def _ids_and_now(self) -> tuple[IdSource, int]: ...

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    def _encrypts(self, worker: str | None) -> bool:  # noqa: ARG002 for those who know their workers
        """Whether arguments of this worker (`None`: of any) are encrypted, as far as is known here."""
        return False

    def _checked(self, wanted: Filter) -> Filter:
        """Refuse to look into arguments that are encrypted.

        Raises:
            ValueError: saying why, and what to do instead.
        """
        if wanted.args_needs and self._encrypts(wanted.worker):
            raise ValueError(
                "jobs cannot be filtered by args that are encrypted: the store does not know what they hold; filter by "
                "worker, queue, state, tags or meta, or name a worker with encrypt=False"
            )
        return wanted

    def _retention(self) -> Retention:
        """Give that of the app."""
        return Retention()

    async def list(
        self,
        wanted: Filter | None = None,
        *,
        worker: str | None = None,
        queue: str | None = None,
        state: State | Iterable[State] | None = None,
        tags: Iterable[str] = (),
        args: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        inserted_before: dt.datetime | None = None,
        inserted_after: dt.datetime | None = None,
        after: UUID | str | None = None,
        newest_first: bool = True,
        limit: int = 100,
    ) -> Sequence[Job]:
        """Give one page of jobs, as they are committed, by id (which sorts by time of insert).

        Args:
            wanted: which jobs; or give its conditions by name.
            worker: only jobs of this worker; `queue` likewise.
            queue: see there.
            state: only jobs in this state, or in one of these.
            tags: only jobs with all of these.
            args: only jobs whose arguments contain this, as in Postgres' `@>`; `meta` likewise.
            meta: see there.
            inserted_before: only jobs inserted before this time; `inserted_after` likewise.
            inserted_after: see there.
            after: give the page after the job with this id.
            newest_first: or oldest first.
            limit: jobs a page, 1 to 10,000.

        Raises:
            ValueError: a condition does not fit, or a limit is out of range.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            dead = await node.list(state="discarded", queue="billing", args={"user": {"id": 7}})
            ```
        """
        given = {
            "worker": worker,
            "queue": queue,
            "state": state,
            "tags": tags,
            "args": args,
            "meta": meta,
            "inserted_before": inserted_before,
            "inserted_after": inserted_after,
        }
        conditions = {name: value for name, value in given.items() if value is not None and value != ()}
        page = page_of(self._checked(_meant("list", wanted, True, conditions)), after, newest_first, limit)
        return [Job(record) for record in await self._operator().find(page)]

    async def count_by(self, wanted: Filter | None = None, *, all: bool = False, **conditions: Any) -> int:  # noqa: A002
        """Count the jobs that meet a filter, as they are committed.

        Args:
            wanted: which jobs; or give its conditions by name.
            all: an empty filter, which means every job, is meant.
            **conditions: see `Filter`.

        Raises:
            EmptyFilter: no condition is given, and not `all=True`.
            ValueError: a condition does not fit.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            assert await node.count_by(worker="charge_customer", state="discarded") == 0
            ```
        """
        return await self._operator().count_meeting(self._checked(_meant("count_by", wanted, all, conditions)))

    async def cancel_by(
        self,
        wanted: Filter | None = None,
        *,
        all: bool = False,  # noqa: A002
        **conditions: Any,
    ) -> ChangedMany:
        """Cancel every job that meets a filter, wherever it is; running ones are stopped, on every node.

        What no node owns is cancelled in one transaction, in which also stands what the owners of the others are told;
        this returns when they have answered. A filter without a state means all jobs that can be cancelled.

        Args:
            wanted: which jobs; or give its conditions by name.
            all: an empty filter, which means every job, is meant.
            **conditions: see `Filter`.

        Raises:
            EmptyFilter: no condition is given, and not `all=True`; nothing was changed.
            ValueError: a condition does not fit.
            StoreUnavailable: the store did not answer; all or nothing of it was asked for.

        Example:
            ```python
            done = await node.cancel_by(worker="charge_customer", args={"user": {"id": 7}})
            print(done.changed, done.errors)
            ```
        """
        return await self._change_by("cancel", "cancel_by", wanted, all, conditions)

    async def discard_by(
        self,
        wanted: Filter | None = None,
        *,
        all: bool = False,  # noqa: A002
        **conditions: Any,
    ) -> ChangedMany:
        """Give up every job that meets a filter, as a dead letter; otherwise as `cancel_by`.

        Example:
            ```python
            await node.discard_by(worker="charge_customer", state=["available", "scheduled"])
            ```
        """
        return await self._change_by("discard", "discard_by", wanted, all, conditions)

    async def retry_by(
        self,
        wanted: Filter | None = None,
        *,
        delay: float = 0,
        all: bool = False,  # noqa: A002
        **conditions: Any,
    ) -> ChangedMany:
        """Run every retryable, cancelled or discarded job that meets a filter again; otherwise as `cancel_by`.

        One that has ended and whose unique key another job has meanwhile is not run: its error is a `UniqueConflict`.

        Args:
            wanted: which jobs; or give its conditions by name.
            delay: seconds until they are due.
            all: an empty filter, which means every job, is meant.
            **conditions: see `Filter`.

        Example:
            ```python
            await node.retry_by(queue="billing", state="discarded", delay=60)
            ```
        """
        return await self._change_by("retry", "retry_by", wanted, all, conditions, check_delay(delay))

    async def purge_by(
        self,
        wanted: Filter | None = None,
        *,
        all: bool = False,  # noqa: A002
        **conditions: Any,
    ) -> ChangedMany:
        """Remove every job that meets a filter for good, with its history.

        A filter without a state means jobs that have ended. One that names other states has those jobs cancelled first.

        Args:
            wanted: which jobs; or give its conditions by name.
            all: an empty filter is meant: every job that has ended.
            **conditions: see `Filter`.

        Raises:
            EmptyFilter, ValueError, StoreUnavailable: see `cancel_by`.

        Example:
            ```python
            await node.purge_by(state="completed", inserted_before=last_year)
            ```
        """
        meant = self._checked(_meant("purge_by", wanted, all, conditions))
        states = wanted_states(meant, "purge")
        store = self._operator()
        errors: list[tuple[UUID, KathikonError]] = []
        ended: list[State] = [state for state in states if state in TERMINAL_STATES]
        ids: set[bytes] = set()
        live: list[State] = [state for state in states if state not in TERMINAL_STATES]
        if live:
            stopped = await self._change_meant(meant.with_states(live), "cancel", 0.0)
            errors += [(as_uuid(job_id), error) for job_id, error in sorted(stopped.errors.items())]
            ids = set(stopped.done)
        removed = len(await store.purge(sorted(ids))) if ids else 0
        if ended:
            removed += await store.purge_meeting(meant.with_states(ended))
        return ChangedMany(removed, errors)

    async def _change_by(
        self,
        action: Any,
        call: str,
        wanted: Filter | None,
        all: bool,  # noqa: A002
        conditions: dict[str, Any],
        delay: float = 0.0,
    ) -> ChangedMany:
        meant = self._checked(_meant(call, wanted, all, conditions))
        return ChangedMany.of(await self._change_meant(meant, action, delay))

    async def _change_meant(self, meant: Filter, action: Action, delay: float) -> Requested:
        """Change what is meant and wait for the owners' answers; give what became of each."""
        change = Change(action, self._ids_and_now()[1], delay, states=meant.states)
        found = await self._operator().request(meant, change)
        known = {*found.done, *found.errors, *found.asked.values()}
        answers = await self._change_running(meant, change, known)
        answers |= await await_answers(self._operator(), found.asked, change, self._sleep, ANSWER_TIMEOUT)
        done = [*found.done, *(job_id for job_id, error in answers.items() if error is None)]
        failed = {job_id: error for job_id, error in answers.items() if error is not None}
        return Requested(done, errors={**found.errors, **failed})

    async def _change_running(
        self,
        meant: Filter,  # noqa: ARG002 for those who run jobs
        change: Change,  # noqa: ARG002
        known: Container[bytes],  # noqa: ARG002
    ) -> dict[bytes, KathikonError | None]:
        """Change jobs that run here and do not look so in the store yet; give the error of each."""
        return {}

    async def prune_now(self, retention: Retention | None = None) -> Pruned:
        """Archive and delete what has ended long ago: one round, now, and nothing else.

        Args:
            retention: instead of the app's; a client knows no app and takes the default one.

        Raises:
            BadConfiguration: this is no retention.
            StoreUnavailable: the store did not answer; some may have been put away.

        Example:
            ```python
            print((await node.prune_now()).archived)
            ```
        """
        if retention is not None and not isinstance(retention, Retention):
            raise BadConfiguration(f"prune_now takes Retention(...), not {retention!r}")
        return await self._operator().prune(self._retention() if retention is None else retention)

    async def promote_now(self) -> int:
        """Make available what is due and belongs to no node: one round, now, and nothing else; give how many.

        What a node owns becomes available by the node's own timer.

        Raises:
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            await node.promote_now()
            ```
        """
        return await self._operator().promote()


_CONDITIONS = tuple(field.name for field in fields(Filter) if field.init)


def _meant(call: str, wanted: Filter | None, all: bool, conditions: dict[str, Any]) -> Filter:  # noqa: A002
    if wanted is not None and conditions:
        raise ValueError(f"{call} takes a Filter or its conditions by name, not both")
    if wanted is not None and not isinstance(wanted, Filter):
        raise ValueError(f"{call} takes a Filter, not {wanted!r}; give conditions by name, as in queue=...")
    if unknown := next((name for name in conditions if name not in _CONDITIONS), None):
        raise UnknownOption(call, unknown, _CONDITIONS)
    meant = wanted if wanted is not None else Filter(**conditions)
    meant.check_not_empty(call, all=all)
    return meant
