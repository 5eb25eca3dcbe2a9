"""Cron entries as a program handles them: the same on nodes and clients."""

from __future__ import annotations

import datetime as dt
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.cron import (
    CatchUp,
    Cron,
    CronEntry,
    CronExists,
    CronNotFound,
    StoredCron,
    check_name,
    job_of,
    marks_of,
    template_of,
)
from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, KathikonError, UnknownWorker
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.store.cron_store import CronChange

if TYPE_CHECKING:
    from kathikon_actors.jobs.definition import WorkerDefinition
    from kathikon_actors.jobs.ids import IdSource
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.jobs.sealing import Keyring
    from kathikon_actors.store.cron_store import CronStore

__all__ = ["Crons", "Schedules", "SyncCrons", "declared_rows"]

logger = logging.getLogger(__name__)

_NO_JOB = NewJob("unchanged", {})


def declared_rows(
    crons: Sequence[Cron],
    definitions: Mapping[str, WorkerDefinition],
    build: Callable[[NewJob], Record],
    keyring: Keyring | None,
) -> list[StoredCron]:
    """Give what the store keeps of the entries that an app declares.

    Raises:
        BadConfiguration: naming the entry whose job does not fit.
    """
    rows = []
    for cron in crons:
        try:
            definition = definitions.get(cron.job.worker)
            if definition is None:
                raise UnknownWorker(cron.job.worker, definitions)
            record = build(cron.job.bound(definition))
            marks = marks_of(record, keyring)
            rows.append(cron.stored(template_of(record, keyring), declared=True, marks=marks))
        except (KathikonError, TypeError) as error:
            raise BadConfiguration(f'cron entry "{cron.name}": {error}') from None
    return rows


def _is_name(name: object) -> bool:
    """Whether an entry can have this name; a store is not asked for another one."""
    try:
        check_name(name)
    except BadConfiguration:
        return False
    return True


class Crons:
    """The cron entries of a store: `node.crons`, `client.crons`.

    Each call returns when the change is committed; the leader sees it within a second.
    """

    def __init__(
        self,
        store: Callable[[], CronStore],
        build: Callable[[NewJob], Awaitable[Record]],
        ids_and_now: Callable[[], tuple[IdSource, int]],
        keyring: Keyring | None = None,
    ) -> None:
        self._keyring = keyring
        self._store = store
        self._build = build
        self._ids_and_now = ids_and_now

    async def list(self) -> Sequence[CronEntry]:
        """Give every entry, by name.

        Example:
            ```python
            for entry in await node.crons.list():
                print(entry.name, entry.next_at)
            ```
        """
        now = self._ids_and_now()[1]
        return [CronEntry.of(row, now) for row in await self._store().load_crons()]

    async def get(self, name: str) -> CronEntry:
        """Give one entry.

        Raises:
            CronNotFound: there is none of this name.
        """
        return CronEntry.of(await self._row(name), self._ids_and_now()[1])

    async def add(self, cron: Cron) -> CronEntry:
        """Store a new entry.

        Raises:
            CronExists: there is one of this name.
            UnknownWorker, UnknownQueue, InvalidJob: its job does not fit; nothing was stored.
            BadConfiguration: this is no entry.

        Example:
            ```python
            await node.crons.add(Cron("hourly", "@hourly", sweep.new()))
            ```
        """
        if not isinstance(cron, Cron):
            raise BadConfiguration(f"crons.add takes Cron(...), not {cron!r}")
        row = cron.stored(template_of(await self._build(cron.job), self._keyring), declared=False)
        if not await self._store().add_cron(row, self._ids_and_now()[1]):
            raise CronExists(cron.name)
        return await self.get(cron.name)

    async def change(
        self,
        name: str,
        *,
        expression: str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
        job: NewJob | None = None,
    ) -> CronEntry:
        """Change an entry from now on; what is not given stays.

        Raises:
            BadConfiguration: naming the field that does not fit; nothing was changed.
            CronNotFound: there is none of this name.

        Example:
            ```python
            await node.crons.change("nightly", expression="30 4 * * *")
            ```
        """
        row = await self._row(name)
        placeholder = _NO_JOB if job is None else job
        Cron(
            name,
            row.expression if expression is None else expression,
            placeholder,
            row.timezone if timezone is None else timezone,
            "last" if catch_up is None else catch_up,
        )
        template = None if job is None else template_of(await self._build(job), self._keyring)
        change = CronChange(self._ids_and_now()[1], expression, timezone, catch_up, template)
        return await self._change(name, change)

    async def pause(self, name: str) -> CronEntry:
        """Let an entry make no jobs until it is resumed.

        Raises:
            CronNotFound: there is none of this name.
        """
        return await self._change(name, CronChange(self._ids_and_now()[1], paused=True))

    async def resume(self, name: str) -> CronEntry:
        """Let a paused entry go on from now; the ticks of the pause are not made up for.

        Raises:
            CronNotFound: there is none of this name.
        """
        return await self._change(name, CronChange(self._ids_and_now()[1], paused=False))

    async def remove(self, name: str) -> None:
        """Remove an entry. A declared one stays removed until its declaration changes.

        Raises:
            CronNotFound: there is none of this name.
        """
        if not _is_name(name) or not await self._store().remove_cron(name):
            raise await self._not_found(name)

    async def run_now(self, name: str) -> Job:
        """Make an entry's job now, beside its ticks; also of a paused one.

        When it is unique and has its like, that one is given, with `conflict` set.

        Raises:
            CronNotFound: there is none of this name.
            ValueError: its job cannot be read.

        Example:
            ```python
            job = await node.crons.run_now("nightly")
            ```
        """
        row = await self._row(name)
        ids, now = self._ids_and_now()
        record = job_of(row.template, name, None, ids.next(now), now, self._keyring)
        answer = await self._store().insert_job(record)
        if answer.error is not None:
            raise answer.error
        return Job(answer.record or record, conflict=answer.conflict)

    async def _row(self, name: str) -> StoredCron:
        for row in await self._store().load_crons():
            if row.name == name:
                return row
        raise await self._not_found(name)

    async def _change(self, name: str, change: CronChange) -> CronEntry:
        if not _is_name(name) or not await self._store().change_cron(name, change):
            raise await self._not_found(name)
        return await self.get(name)

    async def _not_found(self, name: str) -> CronNotFound:
        return CronNotFound(
            name if isinstance(name, str) else repr(name), [row.name for row in await self._store().load_crons()]
        )


class SyncCrons:
    """`Crons` without `await`: `sync_client.crons`."""

    def __init__(self, crons: Crons, call: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._crons = crons
        self._call = call

    def list(self) -> Sequence[CronEntry]:
        """See `Crons.list`."""
        entries: Sequence[CronEntry] = self._call(self._crons.list())
        return entries

    def get(self, name: str) -> CronEntry:
        """See `Crons.get`."""
        return self._entry(self._crons.get(name))

    def add(self, cron: Cron) -> CronEntry:
        """See `Crons.add`."""
        return self._entry(self._crons.add(cron))

    def change(self, name: str, **changes: Any) -> CronEntry:
        """See `Crons.change`."""
        return self._entry(self._crons.change(name, **changes))

    def pause(self, name: str) -> CronEntry:
        """See `Crons.pause`."""
        return self._entry(self._crons.pause(name))

    def resume(self, name: str) -> CronEntry:
        """See `Crons.resume`."""
        return self._entry(self._crons.resume(name))

    def remove(self, name: str) -> None:
        """See `Crons.remove`."""
        self._call(self._crons.remove(name))

    def run_now(self, name: str) -> Job:
        """See `Crons.run_now`."""
        job: Job = self._call(self._crons.run_now(name))
        return job

    def _entry(self, work: Coroutine[Any, Any, CronEntry]) -> CronEntry:
        entry: CronEntry = self._call(work)
        return entry


class Schedules(ABC):
    """The part of `Node` and `Client` that has one call for every kind of later."""

    @property
    @abstractmethod
    def crons(self) -> Crons:
        """The cron entries of the store."""

    @abstractmethod
    async def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """See `Node.insert`."""

    @abstractmethod
    def _new_job(self, job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> NewJob: ...

    async def schedule(
        self,
        job: object,
        args: Mapping[str, Any] | None = None,
        *,
        at: dt.datetime | None = None,
        in_: float | dt.timedelta | None = None,
        cron: str | None = None,
        name: str | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        **options: Any,
    ) -> Job | CronEntry:
        """Run a job at a time, after a time, or again and again; give the job, or the cron entry.

        Args:
            job: `worker.new(...)`, or a worker (or its name) with `args`.
            args: arguments by name, with a worker.
            at: when; a naive time is in the app's time zone.
            in_: seconds from now.
            cron: an expression; see `Cron`.
            name: of the cron entry; default: the worker's name.
            timezone: of the cron expression.
            catch_up: of the cron entry.
            **options: insert options.

        Raises:
            InvalidJob: none of `at`, `in_`, `cron` was given, or more than one.
            CronExists: there is an entry of this name.

        Example:
            ```python
            await node.schedule(charge_customer.new("INV-7", cents=5), in_=60)
            await node.schedule("sweep", {"days": 30}, cron="0 4 * * SUN", name="weekly sweep")
            ```
        """
        given = [text for text, value in (("at", at), ("in_", in_), ("cron", cron)) if value is not None]
        if len(given) != 1:
            worker = getattr(job, "worker", None) or getattr(job, "__name__", None) or str(job)
            found = "nothing is given" if not given else f"{' and '.join(given)} are given"
            raise InvalidJob(str(worker), "schedule", f"needs one of at=, in_= and cron=; {found}")
        if at is not None:
            return await self.insert(job, args, schedule_at=at, **options)
        if in_ is not None:
            return await self.insert(job, args, schedule_in=in_, **options)
        new = self._new_job(job, args, options)
        return await self.crons.add(Cron(name or new.worker, cron or "", new, timezone, catch_up))
