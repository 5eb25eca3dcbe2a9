"""Filters: which jobs they take."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from kathikon_actors.jobs.errors import EmptyFilter
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.record import from_us
from tests.support.records import new_record


class NoOffset(dt.tzinfo):
    """A time zone that knows no offset."""

    def utcoffset(self, _at: dt.datetime | None) -> None:
        return None


class Failing(dt.tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _at: dt.datetime | None) -> dt.timedelta:
        raise RuntimeError("no such zone")


def test_conditions_are_anded() -> None:
    """Each alone, and several."""
    record = new_record(worker="w", queue="q", tags=("a", "b"), args=b'{"user":{"id":7,"x":[1,2]}}', meta=b'{"m":1}')
    at = from_us(record.inserted_at)
    second = dt.timedelta(seconds=1)
    taking = [
        Filter(),
        Filter("w", "q", "available"),
        Filter(state=["completed", "available"]),
        Filter(tags=["b", "a"]),
        Filter(args={"user": {"id": 7}}),
        Filter(args={"user": {"x": [2]}}, meta={"m": 1.0}),
        Filter(inserted_before=at + second, inserted_after=at - second),
        Filter(one_of=[[{"user": {"id": "7"}}, {"user": {"id": 7}}]]),
    ]
    refusing = [
        Filter("v"),
        Filter(queue="p"),
        Filter(state="completed"),
        Filter(tags=["a", "c"]),
        Filter(args={"user": {"id": "7"}}),
        Filter(args={"user": {"x": [3]}}),
        Filter("w", meta={"m": True}),
        Filter(inserted_before=at),
        Filter(inserted_after=at),
        Filter(one_of=[[{"user": {"id": 7}}], [{"user": {"id": 8}}]]),
    ]
    assert [each.takes(record) for each in taking] == [True] * len(taking)
    assert [each.takes(record) for each in refusing] == [False] * len(refusing)


def test_only_a_filter_without_conditions_is_empty() -> None:
    """And it is refused by name."""
    assert Filter().is_empty and Filter(args={}, tags=[]).is_empty
    assert not Filter(queue="").is_empty
    with pytest.raises(EmptyFilter, match="cancel_by without"):
        Filter().check_not_empty("cancel_by", all=False)
    Filter().check_not_empty("cancel_by", all=True)


@pytest.mark.parametrize(
    "conditions",
    [{"state": "complete"}, {"worker": 7}, {"args": [1]}, {"args": {1: 2}}, {"meta": {"x": {1, 2}}},
     {"inserted_before": dt.datetime(2026, 1, 1)}, {"inserted_after": "today"}, {"state": 5}, {"tags": 5},
     {"tags": [5]}, {"tags": None}, {"worker": "a\0"}, {"queue": "\ud800"}, {"tags": ["a", "\0"]},
     {"one_of": 5}, {"one_of": [[5]]}, {"one_of": [[{"a": "\0"}]]}, {"one_of": [[{"a": float("nan")}]]},
     {"inserted_before": dt.datetime(2026, 1, 1, tzinfo=NoOffset())},
     {"inserted_after": dt.datetime(2026, 1, 1, tzinfo=Failing())}],
)  # fmt: skip
def test_a_condition_that_does_not_fit_is_named(conditions: dict[str, Any]) -> None:
    """At once."""
    with pytest.raises(ValueError, match=next(iter(conditions))):
        Filter(**conditions)
