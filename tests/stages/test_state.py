"""How an actor's state is written and read back."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.actors.snapshots import sink
from kathikon_actors.actors.snapshots.sink import SnapshotTooLarge, StoredSnapshot
from kathikon_actors.actors.snapshots.state import (
    Snapshot,
    SnapshotUnreadable,
    StateNotEncodable,
    decode,
    encode,
    state_type,
)


@dataclass
class Cart:
    owner: str
    items: dict[str, int] = field(default_factory=dict)


class Point(msgspec.Struct):
    x: int
    tags: set[str]


class ByParameter:
    def take_snapshot(self) -> object: ...
    def restore_snapshot(self, state: Cart) -> None: ...


class ByResult:
    def take_snapshot(self) -> Point: ...
    def restore_snapshot(self, state): ...


class ByNothing:
    def take_snapshot(self): ...
    def restore_snapshot(self, state: object) -> None: ...


class OnlyForCheckers:
    def restore_snapshot(self, state: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_the_type_of_a_state_comes_from_the_annotations() -> None:
    """Of the parameter first, of the result else; without any it is plain data."""
    assert [state_type(cls) for cls in (ByParameter, ByResult, ByNothing, OnlyForCheckers)] == [Cart, Point, Any, Any]


@pytest.mark.parametrize("state", [Cart("a", {"x": 1}), Point(3, {"a", "b"})])
def test_a_dataclass_and_a_struct_come_back_as_what_they_were(state: Any) -> None:
    """By msgpack, with the type of the annotation."""
    assert decode("a", encode("a", state, "msgpack"), "msgpack", type(state)) == state


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_json_like_data_comes_back_as_it_was(state: Any) -> None:
    """Without an annotation, by both codecs."""
    for codec in ("msgpack", "pickle"):
        assert decode("a", encode("a", state, codec), codec) == state


@pytest.mark.parametrize("state", [object(), 2**70, {"f": open}], ids=["object", "huge", "function"])
def test_a_state_that_msgpack_cannot_write_is_refused_with_what_would_fit(state: object) -> None:
    """The error names the actor."""
    with pytest.raises(StateNotEncodable, match=r"actor cart .*msgpack.*dataclass"):
        encode("cart", state, "msgpack")


def test_a_state_that_no_longer_fits_its_class_is_unreadable_and_says_where() -> None:
    """A field changed its type between two releases."""
    stored = StoredSnapshot("msgpack", msgspec.msgpack.encode({"owner": 7}), version=4)
    with pytest.raises(SnapshotUnreadable, match=r"snapshot 4 of actor cart .*owner"):
        decode("cart", stored, "msgpack", Cart)


def test_a_pickle_in_the_store_is_never_loaded_by_an_actor_that_did_not_ask_for_it() -> None:
    """Whoever can write to the database does not get code run."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os._exit, (1,)

    stored = encode("a", Bomb(), "pickle")
    with pytest.raises(SnapshotUnreadable, match="codec"):
        decode("a", stored, "msgpack")


def test_a_state_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its size and the limit."""
    monkeypatch.setattr("kathikon_actors.actors.snapshots.state.MAX_STATE", 10)
    with pytest.raises(SnapshotTooLarge, match="12 bytes"):
        encode("a", b"x" * 10, "msgpack")
    assert sink.MAX_STATE == 64 * 1024 * 1024


@pytest.mark.parametrize(
    "options",
    [{"every": 0}, {"every": True}, {"every": 1.5}, {"interval": 0}, {"interval": math.nan}, {"codec": "json"}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    """With the field's name."""
    with pytest.raises(ValueError, match=f"Snapshot.{next(iter(options))}"):
        Snapshot(**options)


def test_a_snapshot_is_due_by_messages_or_by_time_but_never_without_a_message() -> None:
    """What did not change is not written again."""
    wanted = Snapshot(every=3, interval=10)
    assert [wanted.is_due(*at) for at in ((2, 9.9), (3, 0), (1, 10), (0, 1000))] == [False, True, True, False]
    assert [wanted.due_in(1, 4), wanted.due_in(1, 40), wanted.due_in(0, 4)] == [6, 0, math.inf]
