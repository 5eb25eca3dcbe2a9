"""Strict JSON with the path of what does not fit."""

import datetime as dt
import enum
import json as stdlib
import math
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import json

text = st.text('abc\\"/ \n\x01\x7fäß€𝄞\u2028', max_size=6)
good = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(text, inner),
    max_leaves=12,
)
bad_leaf = st.sampled_from(
    [
        math.nan,
        math.inf,
        -math.inf,
        b"x",
        dt.date(2024, 1, 1),
        {1},
        object(),
        1j,
        "\0",
        "a\ud800",
        {1: 2},
        {None: 1},
        {"\0": 1},
    ]
)
mixed = st.recursive(
    good | bad_leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def listed(value: Any) -> Any:
    """Tuples come back as lists: nothing else may change."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value


def typed(value: Any) -> str:
    return repr(listed(value))


def round_trips(value: Any) -> bool:
    """Whether strict JSON of the standard library gives the value back, types included, and Postgres can hold it."""
    try:
        text = stdlib.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError):
        return False
    return typed(stdlib.loads(text)) == typed(value) and "\\u0000" not in text


@given(value=good)
def test_what_is_json_comes_back_as_it_was(value: Any) -> None:
    """Every JSON value is taken and read back equal, types included; tuples become lists."""
    raw = json.encode_strict(value, "args")
    assert typed(json.decode(raw)) == typed(value)
    assert typed(stdlib.loads(raw)) == typed(value)


@given(value=mixed)
def test_exactly_what_json_gives_back_is_let_in(value: Any) -> None:
    """`encode_strict` takes a value if and only if a round trip through JSON gives it back."""
    if round_trips(value):
        assert typed(json.decode(json.encode_strict(value, "args"))) == typed(value)
    else:
        with pytest.raises(json.NotJson, match=r"^args"):
            json.encode_strict(value, "args")


class Text(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    A = "a"


Point = namedtuple("Point", "x y")  # noqa: PYI024 what is tested is that kind of tuple


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ({"user": {"id": math.nan}}, "args.user.id", "is nan, which JSON has no number for"),
        ({"items": [0, 1, 2, {"at": dt.date(2024, 1, 1)}]}, "args.items[3].at", "is of type date"),
        ({"a": [1, (2, {3})]}, "args.a[1][1]", "is of type set, which is not JSON"),
        ({"a": {5: 1}}, "args.a[5]", "has a key of type int; JSON keys are strings"),
        ({True: 1}, "args[True]", "has a key of type bool"),
        ({"a": b"x"}, "args.a", "is of type bytes"),
        ({"a": {"b": "x\0y"}}, "args.a.b", "U+0000"),
        ({"a": {"b\0": 1}}, "args.a['b\\x00']", "U+0000"),
        ({"a": ["ok", "\udce9"]}, "args.a[1]", "lone surrogate"),
        ({"a": Text("x")}, "args.a", "is of type Text; give a plain str"),
        ({"a": Colour.RED}, "args.a", "is of type Colour; give a plain int"),
        ({"a": Word.A}, "args.a", "is of type Word; give a plain str"),
        ({"a": OrderedDict(b=1)}, "args.a", "is of type OrderedDict; give a plain dict"),
        ({"a": Point(1, 2)}, "args.a", "is of type Point; give a plain tuple"),
    ],
)
def test_what_is_not_json_is_refused_with_its_path(value: Any, path: str, problem: str) -> None:
    """The error says where and why."""
    with pytest.raises(json.NotJson) as raised:
        json.encode_strict(value, "args")
    assert raised.value.path == path
    assert problem in raised.value.problem
    assert str(raised.value) == f"{path} {raised.value.problem}"


def test_a_backslash_before_u0000_is_not_a_nul() -> None:
    """Only the character itself is refused, not text that looks like its escape."""
    assert json.decode(json.encode_strict({"a": "\\u0000"}, "args")) == {"a": "\\u0000"}


def test_what_holds_itself_is_refused() -> None:
    """A cycle, or nesting without end, is an error and no recursion."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(json.NotJson, match="nested deeper than 200"):
        json.encode_strict(cycle, "args")
