"""Unique policies and their keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique, unique_key

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(st.text(), values, max_size=4)


def key(args: dict[str, Any], *, worker: str = "w", queue: str = "q", meta: Any = None, **policy: Any) -> bytes:
    return unique_key(Unique(**policy), worker, queue, args, meta or {})


def shuffled(value: Any) -> Any:
    """The same JSON, every object in the other order."""
    if isinstance(value, dict):
        return {name: shuffled(item) for name, item in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(args=arguments)
def test_the_order_of_arguments_does_not_matter(args: dict[str, Any]) -> None:
    """At any depth."""
    assert key(args) == key(shuffled(args))
    assert len(key(args)) == 16


@given(one=arguments, other=arguments)
def test_different_arguments_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    """As far as a hash of 128 bits tells."""
    assert (key(one) == key(other)) == same(one, other)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_the_context_of_a_trace_makes_no_job_another_one() -> None:
    """Each insert has its own; it counts only where it is named."""
    meta = {"customer": 7}
    traced = [meta | {"traceparent": f"00-{number}", "tracestate": "x"} for number in range(2)]
    whole, named = {"keys": ("worker", "meta")}, {"keys": ("meta.traceparent",)}
    assert key({}, meta=meta, **whole) == key({}, meta=traced[0], **whole) == key({}, meta=traced[1], **whole)
    assert key({}, meta={"customer": 8}, **whole) != key({}, meta=meta, **whole)
    assert key({}, meta=traced[0], **named) != key({}, meta=traced[1], **named)


def test_keys_say_which_parts_count() -> None:
    """Worker, queue, args, meta, and parts of the last two."""
    args = {"user": {"id": 7, "name": "a"}, "n": 1}
    by_user = {"keys": ("args.user.id",)}
    assert key(args, **by_user) == key({"user": {"id": 7}}, worker="other", queue="other", **by_user)
    assert key(args, **by_user) != key({"user": {"id": 8}}, **by_user)
    assert key(args, **by_user) != key({"user": {}}, **by_user) != key({"user": {"id": None}}, **by_user)
    assert key({"user": 7}, **by_user) == key({}, **by_user), "what is not there is not there"
    assert key(args, worker="a") != key(args, worker="b")
    assert key(args, queue="a") == key(args, queue="b")
    assert key(args, queue="a", keys=("queue",)) != key(args, queue="b", keys=("queue",))
    assert key({}, meta={"t": 1}, keys=("meta.t",)) != key({}, meta={"t": 2}, keys=("meta.t",))
    assert key({"a": 1}, keys=("args.a",)) != key({"b": 1}, keys=("args.b",))


def test_a_job_is_guarded_when_others_have_to_do_with_its_start() -> None:
    """The usual policy costs no commit before a start."""
    assert not Unique().is_guarded and Unique().is_simple
    assert not Unique(states=[*UNIQUE_STATES, "completed"], period=60).is_guarded  # type: ignore[arg-type]
    assert not Unique(period=60).is_simple
    for guarded in (Unique(replace=("args",)), Unique(debounce=1), Unique(states=("available", "scheduled"))):
        assert guarded.is_guarded and not guarded.is_simple


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keys": ("arg",)}, 'no key "arg" .*Did you mean "args"'),
        ({"keys": ("worker.name",)}, 'no key "worker.name"'),
        ({"keys": ()}, "at least one"),
        ({"keys": "args"}, "give a tuple of names"),
        ({"keys": ("args.",)}, 'key "args." has an empty part'),
        ({"keys": ("args.a..b",)}, "has an empty part"),
        ({"keys": ("args.\ud800",)}, "keys is .*give a tuple of names"),
        ({"keys": None}, "keys is None; give a tuple of names"),
        ({"states": 5}, "states is 5; give a tuple of names"),
        ({"replace": None}, "replace is None; give a tuple of names"),
        ({"states": ("availible",)}, 'Did you mean "available"'),
        ({"states": ()}, "at least one"),
        ({"replace": ("arguments",)}, 'no field to replace "arguments"'),
        ({"period": 0}, "give seconds above 0"),
        ({"period": True}, "give seconds above 0"),
        ({"debounce": -1}, "give seconds above 0"),
        ({"debounce": 1e12}, "at most 100 years"),
    ],
)
def test_what_does_not_fit_is_refused_when_declared(options: dict[str, Any], told: str) -> None:
    """Naming what, which and the next step."""
    with pytest.raises(BadConfiguration, match=told):
        Unique(**options)
