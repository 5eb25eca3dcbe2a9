"""Cron entries: what is declared, what is stored, and which ticks of it are due. Plain data and plain functions."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import msgspec

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, KathikonError, did_you_mean, shown
from kathikon_actors.jobs.new_job import NewJob, check_new
from kathikon_actors.jobs.record import Record, from_us
from kathikon_actors.jobs.sealed_record import is_sealed, open_record, rebind
from kathikon_actors.jobs.sealing import SEALED, Keyring, bound_id
from kathikon_actors.jobs.ticks import Ticks, parse_ticks

__all__ = [
    "CatchUp",
    "Cron",
    "CronEntry",
    "CronExists",
    "CronNotFound",
    "StoredCron",
    "check_name",
    "due_ticks",
    "job_of",
    "marks_of",
    "template_of",
]

CatchUp = Literal["last", "all", "none"]
"""What becomes of ticks that came while no node was there: the last one is made up for, all are (the latest
`MAX_CAUGHT_UP`), or none."""

MAX_CAUGHT_UP: Final = 100
"""Missed ticks of one entry that `catch_up="all"` makes up for, the latest ones."""

FRESH: Final = 15_000_000
"""Microseconds: a tick that is no older was not missed, it is taken up by the next leader. Each of these fires."""

_TIMEOUT: Final = Record.__struct_fields__.index("timeout")

_REFUSED: Final = ("id", "schedule_at", "schedule_in", "depends_on", "batch")


class CronExists(KathikonError):
    """There is a cron entry of this name already."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f'a cron entry "{name}" exists; change it with crons.change, or remove it first')


class CronNotFound(KathikonError):
    """There is no cron entry of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        shown = ", ".join(self.known[:20]) or "none"
        super().__init__(f'no cron entry "{name}" (known: {shown}).{did_you_mean(name, self.known)}')


@dataclass(frozen=True)
class Cron:
    """A job that is made again and again.

    Attributes:
        name: unique on the store, 1 to 200 printable characters.
        expression: five or six fields, or `@daily` and its kin; see `kathikon_actors.jobs.ticks`.
        job: what each tick inserts: `worker.new(...)`, with any options but `id`, `schedule_at` and `schedule_in`.
        timezone: IANA name.
        catch_up: what becomes of ticks that came while no node was there.

    Raises:
        BadConfiguration: naming the entry, the field and what is legal.

    Example:
        ```python
        App([Queue("reports")], crons=[Cron("nightly", "0 3 * * *", Nightly.new(), timezone="Europe/Athens")])
        ```
    """

    name: str
    expression: str
    job: NewJob
    timezone: str = "UTC"
    catch_up: CatchUp = "last"

    def __post_init__(self) -> None:
        check_name(self.name)
        try:
            parse_ticks(self.expression, self.timezone)
        except BadConfiguration as error:
            raise BadConfiguration(f'cron entry "{self.name}": {error}') from None
        if self.catch_up not in get_args(CatchUp):
            raise BadConfiguration(
                f'cron entry "{self.name}": catch_up is {shown(self.catch_up)}; give "last", "all" or "none"'
            )
        if not isinstance(self.job, NewJob):
            raise BadConfiguration(f'cron entry "{self.name}": job is {shown(self.job)}; give worker.new(...)')
        try:
            check_new(self.job)
        except InvalidJob as error:
            raise BadConfiguration(f'cron entry "{self.name}": {error}') from None
        for option in _REFUSED:
            if option in self.job.given:
                raise BadConfiguration(
                    f'cron entry "{self.name}": its job has the option {option}, but the entry says when it runs'
                )

    def stored(self, template: str, *, declared: bool, marks: tuple[str, ...] = ()) -> StoredCron:
        """Give what the store keeps, with the job as `template_of` gives it and what `marks_of` gives."""
        return StoredCron(
            self.name, self.expression, self.timezone, self.catch_up, template, declared=declared, marks=marks
        )


@dataclass(frozen=True)
class StoredCron:
    """A cron entry as the store keeps it. Nothing of it is believed before it is used.

    Attributes:
        template: the job as JSON.
        declared: it came from an app's declaration.
        paused: it makes no jobs.
        revision: grows with every change by hand; a tick counts only under the revision that it was reckoned from.
        last_tick: microseconds since 1970: every tick until then is settled.
        marks: of a declared one that is encrypted, and so never looks the same: what tells one template from another,
            by each key, the newest first.
    """

    name: str
    expression: str
    timezone: str
    catch_up: str
    template: str
    declared: bool = False
    paused: bool = False
    revision: int = 0
    last_tick: int = 0
    marks: tuple[str, ...] = ()

    @property
    def declaration(self) -> str:
        """What tells one declaration from another."""
        return self._declared_as(self.marks[0] if self.marks else self.template)

    @property
    def older_declarations(self) -> list[str]:
        """How the same declaration looked when another key was the newest."""
        return [self._declared_as(mark) for mark in self.marks[1:]]

    def _declared_as(self, template: str) -> str:
        return f"{self.expression}\n{self.timezone}\n{self.catch_up}\n{template}"

    def ticks(self) -> Ticks:
        """Read its expression.

        Raises:
            BadConfiguration: it cannot be used.
        """
        if self.catch_up not in get_args(CatchUp):
            raise BadConfiguration(f'catch_up is {shown(self.catch_up)}; it can be "last", "all" or "none"')
        return parse_ticks(self.expression, self.timezone)


@dataclass(frozen=True)
class CronEntry:
    """A cron entry as people see it.

    Attributes:
        worker: of its job, with `queue`; empty when the entry cannot be used.
        declared: it came from an app's declaration, and comes back with it.
        next_at: its next tick, UTC; `None` when it is paused, cannot be used, or has none.
        last_at: until when its ticks are settled, UTC.
        problem: why it cannot be used.
    """

    name: str
    expression: str
    timezone: str
    catch_up: str
    worker: str
    queue: str
    paused: bool
    declared: bool
    next_at: dt.datetime | None
    last_at: dt.datetime
    problem: str | None = None

    @classmethod
    def of(cls, row: StoredCron, now: int) -> CronEntry:
        """Show a stored entry as it is at `now`, microseconds since 1970."""
        worker = queue = ""
        next_at, problem = None, None
        try:
            record = _decode(row.template)
            worker, queue = record.worker, record.queue
            tick = row.ticks().after(max(now, row.last_tick))
            next_at = None if tick is None or row.paused else from_us(tick)
        except Exception as error:  # whatever is stored there, it is shown
            problem = str(error)
        return cls(
            row.name, row.expression, row.timezone, row.catch_up, worker, queue, row.paused, row.declared, next_at,
            from_us(row.last_tick), problem,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Give every field by name, times as ISO 8601: what `--json` prints."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in values.items()}


def check_name(name: object) -> str:
    """Give the name of an entry.

    Raises:
        BadConfiguration: it is none.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
        raise BadConfiguration(f"cron entry {shown(name)}: a name is 1 to 200 printable characters")
    return name


def due_ticks(ticks: Ticks, after: int, now: int, catch_up: str) -> tuple[list[int], int]:
    """Give the ticks in `(after, now]` that are to fire, in order, and how many are missed for good.

    All times are microseconds since 1970. At most `MAX_CAUGHT_UP` missed ticks are reckoned with.
    """
    fresh_from = max(after, now - FRESH)
    fresh = ticks.between(fresh_from, now, MAX_CAUGHT_UP)
    missed = ticks.between(after, fresh_from, MAX_CAUGHT_UP) if fresh_from > after else []
    if catch_up == "all":
        return [*missed, *fresh][-MAX_CAUGHT_UP:], 0
    kept = missed[-1:] if catch_up == "last" and not fresh else []
    return [*kept, *fresh], len(missed) - len(kept)


def template_of(record: Record, keyring: Keyring | None = None) -> str:
    """Give a job that was built and is not inserted as the text that the store keeps.

    An encrypted one is sealed for no job; each tick seals it for its own.
    """
    template = replace_times(record)
    rebind(template, keyring, bound_id(record), template.id)
    return msgspec.json.encode(template).decode()


def marks_of(record: Record, keyring: Keyring | None) -> tuple[str, ...]:
    """Give what tells one encrypted template from another, and nothing else, by each key; nothing for a plain one."""
    if keyring is None or not is_sealed(record):
        return ()
    plain = msgspec.json.encode(replace_times(open_record(record, keyring)))
    return tuple(hashlib.blake2b(plain, key=key, digest_size=16).hexdigest() for key in keyring.raw)


def replace_times(record: Record) -> Record:
    """Give the job without what only one insert of it has, so that equal declarations give equal texts."""
    plain: Record = msgspec.structs.replace(
        record, id=bytes(16), inserted_at=0, scheduled_at=0, history=b"", state="available", node=None
    )
    return plain


def job_of(
    template: str, entry: str, tick: int | None, job_id: bytes, now: int, keyring: Keyring | None = None
) -> Record:
    """Make the job of one tick.

    Args:
        template: from `template_of`.
        entry: the entry's name, which the job's meta carries as `cron`.
        tick: microseconds since 1970, in the meta as `cron_tick`; `None` when it is run by hand.
        job_id: 16 bytes.
        now: microseconds since 1970.
        keyring: for one that is encrypted.

    Raises:
        ValueError: the template cannot be read.
        CannotOpen: it is encrypted, and the key is missing.
    """
    record = _decode(template)
    rebind(record, keyring, record.id, job_id)
    if record.meta.startswith(SEALED):
        made: Record = msgspec.structs.replace(record, id=job_id, inserted_at=now, scheduled_at=now, state="available")
        machine.inserted(made)
        return made
    meta = {**json.decode(record.meta), "cron": entry}
    if tick is not None:
        meta["cron_tick"] = from_us(tick).isoformat()
    made = msgspec.structs.replace(
        record, id=job_id, inserted_at=now, scheduled_at=now, meta=json.encode(meta), state="available"
    )
    machine.inserted(made)
    return made


def _decode(template: str) -> Record:
    try:
        values = msgspec.json.decode(template)
        if isinstance(values, list) and len(values) > _TIMEOUT and values[_TIMEOUT] is None:
            values[_TIMEOUT] = math.inf  # JSON has no number for it
        return msgspec.convert(values, Record)
    except msgspec.MsgspecError as error:
        raise ValueError(f"its job cannot be read: {error}") from None
