"""Events packed into notices of limited size, and unpacked."""

from __future__ import annotations

from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.telemetry import Event, JobTransition, StoreCut, StoreFlushed
from kathikon_actors.telemetry.forwarding import Notice, Packer, decode_event, kinds_by_name, names_of, unpack

LIMIT = 3_000

events_ = st.one_of(
    st.builds(StoreFlushed, lane=st.text(max_size=20), rows=st.just(1), seconds=st.just(0.5), at=st.floats(0, 9)),
    st.builds(StoreCut, problem=st.text(max_size=3_000), at=st.floats(0, 1e10)),
    st.builds(
        JobTransition, job_id=st.builds(UUID, int=st.integers(0, 2**128 - 1)), worker=st.text(max_size=600),
        queue=st.text(max_size=63), event=st.just("started"), old=st.none(), new=st.just("executing"),
        attempt=st.integers(0, 9), reason=st.none() | st.text(max_size=900),
    ),
)  # fmt: skip


@given(st.lists(events_, max_size=30), st.dictionaries(st.sampled_from(["StoreCut", "JobTransition"]), st.integers(1)))
def test_every_event_arrives_in_order_and_no_notice_is_too_long(events: list[Event], dropped: dict[str, int]) -> None:
    """What is too big for one is cut, and keeps its other fields."""
    notices = [unpack(payload) for payload in _pack(events, dropped)]
    found = []
    for notice in notices:
        assert notice is not None and notice.node == "n1"
        found += [decode_event(kinds_by_name()[name], raw) for name, raw in notice.events]
    assert len(found) == len(events)
    for got, gave in zip(found, events, strict=True):
        assert type(got) is type(gave) and got is not None and got.at == gave.at
        for field in gave.__struct_fields__:
            value, there = getattr(gave, field), getattr(got, field)
            assert there == value or there.removesuffix("...") == value[: len(there) - 3]
    assert dict(notices[0].dropped if notices and notices[0] else {}) == dropped
    assert len({notice.number for notice in notices if notice}) == len(notices)


def _pack(events: list[Event], dropped: dict[str, int]) -> list[str]:
    payloads = Packer("n1", LIMIT).pack(events, dropped)
    assert all(len(payload.encode()) <= LIMIT for payload in payloads)
    return payloads


class Heap(Event, frozen=True, kw_only=True):
    """An event of a program's own that has no text to cut."""

    items: list[object]


def test_what_cannot_be_cut_is_dropped_and_counted() -> None:
    """The others go out."""
    events = [Heap(items=[1]), Heap(items=[1] * LIMIT), Heap(items=[object()]), Heap(items=[2])]
    (payload,) = Packer("n1", LIMIT).pack(events, {"Heap": 2})
    notice = unpack(payload)
    assert notice is not None and notice.dropped == {"Heap": 4} and len(notice.events) == 2


def test_small_events_share_a_notice() -> None:
    """As many as fit."""
    flushed = StoreFlushed(lane="inserts", rows=1, seconds=0.5, at=1.0)
    assert len(Packer("n1", 8_000).pack([flushed] * 100, {})) == 2


def test_what_newer_nodes_send_is_skipped_where_it_is_not_understood() -> None:
    """Kinds, fields and forms that do not exist here yet."""
    assert unpack("[1]") is None and unpack("nonsense") is None
    raw = msgspec.Raw(b'{"problem":"p","at":2.0,"node":"n","since":"later"}')
    assert decode_event(StoreCut, raw) == StoreCut(problem="p", at=2.0, node="n")
    assert decode_event(StoreCut, msgspec.Raw(b'{"problem":7}')) is None
    payload = msgspec.json.encode(Notice("n1", 1, events=[("Unknown", raw), ("StoreCut", raw)])).decode()
    notice = unpack(payload[:-1] + ',"of a later version"]')
    assert notice is not None
    assert [name for name, _ in notice.events if name in kinds_by_name()] == ["StoreCut"]


def test_kinds_are_named_with_all_that_are_derived_from_them() -> None:
    """As a subscription on the node takes them."""
    assert names_of([]) is None and names_of([Event]) is None and names_of([StoreCut, Event]) is None
    assert names_of([StoreCut, JobTransition]) == ["JobTransition", "StoreCut"]
    assert "StoreFlushed" in kinds_by_name()
