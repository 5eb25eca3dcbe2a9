"""Which jobs are meant: conditions on workers, queues, states, tags, arguments and times, all of which must hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import EmptyFilter, did_you_mean
from kathikon_actors.jobs.record import Record, to_us
from kathikon_actors.jobs.states import STATES, State

__all__ = ["Filter", "contains"]


@dataclass(frozen=True)
class Filter:
    """Conditions that jobs have to meet; what is not given is not asked for.

    Attributes:
        worker: the worker's name.
        queue: the queue's name.
        state: a state, or any of several.
        tags: all of these.
        args: contained in the job's arguments as in Postgres' `@>`: objects hold at least these keys, arrays at least
            these elements, all else is equal. `meta` likewise.
        inserted_before: aware datetime; so is `inserted_after`. Neither bound is itself included.
        one_of: for each entry, the arguments contain one of its values; how the command line asks for `7` or `"7"`.

    Raises:
        ValueError: naming the condition and what is legal.

    Example:
        ```python
        vip = Filter(worker="charge_customer", state="discarded", tags=["vip"], args={"user": {"id": 7}})
        await node.retry_by(vip)
        ```
    """

    worker: str | None = None
    queue: str | None = None
    state: State | Iterable[State] | None = None
    _: KW_ONLY
    tags: Iterable[str] = ()
    args: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None
    inserted_before: dt.datetime | None = None
    inserted_after: dt.datetime | None = None
    one_of: Sequence[Sequence[Mapping[str, Any]]] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        given = () if self.state is None else self.state
        states = (given,) if isinstance(given, str) else _listed("state", given, "a state, or several")
        for state in states:
            if state not in STATES:
                near = did_you_mean(str(state), STATES)
                raise ValueError(f'no state is called "{state}" (known: {", ".join(STATES)}).{near}')
        put(self, "state", states)
        tags = (self.tags,) if isinstance(self.tags, str) else _listed("tags", self.tags, "strings")
        if not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"tags is {self.tags!r}; give strings")
        json.check_text(tags, "tags")
        put(self, "tags", tags)
        for name in ("worker", "queue"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ValueError(f"{name} is {value!r}; give its name")
            json.check_text(value, name)
        for name in ("inserted_before", "inserted_after"):
            at = getattr(self, name)
            if at is not None and not _is_aware(at):
                raise ValueError(f"{name} is {at!r}; give an aware datetime")
        for name in ("args", "meta"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, Mapping):
                    raise ValueError(f"{name} is {value!r}; give a dict that is to be contained")
                put(self, name, json.decode(json.encode_strict(dict(value), name)))
        put(self, "one_of", _alternatives(self.one_of))

    @property
    def states(self) -> tuple[State, ...]:
        """Any of these; empty means every state."""
        return (self.state,) if isinstance(self.state, str) else tuple(self.state or ())

    @cached_property
    def args_needs(self) -> list[list[Any]]:
        """For each entry the arguments must contain one of its values."""
        return [*([[self.args]] if self.args else []), *[[dict(value) for value in entry] for entry in self.one_of]]

    @property
    def before_us(self) -> int | None:
        """`inserted_before` as microseconds since 1970; likewise `after_us`."""
        return None if self.inserted_before is None else to_us(self.inserted_before)

    @property
    def after_us(self) -> int | None:
        """See `before_us`."""
        return None if self.inserted_after is None else to_us(self.inserted_after)

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing, so that every job is meant."""
        return not (
            self.worker is not None
            or self.queue is not None
            or self.state
            or self.tags
            or self.args
            or self.meta
            or self.one_of
            or self.inserted_before is not None
            or self.inserted_after is not None
        )

    def check_not_empty(self, call: str, *, all: bool) -> None:  # noqa: A002 the contract's own word
        """Refuse to change every job there is, unless that is said.

        Raises:
            EmptyFilter: it is empty and `all` is false.
        """
        if self.is_empty and not all:
            raise EmptyFilter(call)

    def with_states(self, states: Iterable[State]) -> Filter:
        """Give the same filter with other states."""
        return Filter(
            self.worker,
            self.queue,
            tuple(states),
            tags=self.tags,
            args=self.args,
            meta=self.meta,
            inserted_before=self.inserted_before,
            inserted_after=self.inserted_after,
            one_of=self.one_of,
        )

    def takes(self, record: Record) -> bool:
        """Whether a job meets every condition."""
        before, after = self.before_us, self.after_us
        return (
            (self.worker is None or record.worker == self.worker)
            and (self.queue is None or record.queue == self.queue)
            and (not self.state or record.state in self.states)
            and set(self.tags) <= set(record.tags)
            and (before is None or record.inserted_at < before)
            and (after is None or record.inserted_at > after)
            and self._takes_json(record)
        )

    def _takes_json(self, record: Record) -> bool:
        if self.args_needs:
            args = json.decode(record.args)
            if not all(any(contains(args, value) for value in entry) for entry in self.args_needs):
                return False
        return not self.meta or contains(json.decode(record.meta), self.meta)


def _listed(name: str, value: Iterable[Any], what: str) -> tuple[Any, ...]:
    try:
        return tuple(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; give {what}") from None


def _is_aware(at: object) -> bool:
    """Whether it is a datetime that has an offset; a time zone may know none, or fail."""
    try:
        return isinstance(at, dt.datetime) and at.utcoffset() is not None
    except Exception:
        return False


def _alternatives(given: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[Sequence[Mapping[str, Any]]]:
    try:
        plain = [[dict(value) for value in entry] for entry in given]
    except (TypeError, ValueError):
        raise ValueError(f"one_of is {given!r}; give lists of dicts, one of each list to be contained") from None
    found: Sequence[Sequence[Mapping[str, Any]]] = json.decode(json.encode_strict(plain, "one_of")) if plain else ()
    return found


def contains(value: Any, part: Any) -> bool:
    """Whether a JSON value contains another one, by the rules of Postgres' `jsonb @>`.

    Objects contain the keys with values that contain those of `part`; arrays contain each element of `part` somewhere;
    all else is equal (`1` and `1.0` are, `true` and `1` are not).
    """
    if isinstance(part, dict):
        return isinstance(value, dict) and all(key in value and contains(value[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(value, list) and all(any(contains(item, wanted) for item in value) for wanted in part)
    if isinstance(value, bool) or isinstance(part, bool):
        return value is part
    return bool(value == part)
