"""The wire format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.processes.frames import BadFrame, FrameDecoder, FrameTooLarge, encode_frames
from kathikon_actors.processes.messages import FromWorker, Progress, Report, Run, ToWorker
from tests.processes.tools import record


def decoder(limit: int = 1_000_000) -> FrameDecoder[FromWorker]:
    return FrameDecoder(FromWorker, limit=limit)


@given(st.lists(st.lists(st.integers(0, 100), max_size=5), max_size=5), st.data())
def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut(
    batches: list[list[int]], data: st.DataObject
) -> None:
    """A stream of frames, cut anywhere, gives the messages that went in."""
    stream = b"".join(encode_frames([Progress(1, percent) for percent in batch]) for batch in batches)
    feed = decoder().feed
    got = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += feed(stream[:size])
        stream = stream[size:]
    assert [message.percent for message in got if isinstance(message, Progress)] == [p for b in batches for p in b]


def test_a_run_carries_its_whole_record() -> None:
    """What the node knows of a job, the worker knows."""
    sent = Run(7, record("double", number=3))
    [got] = FrameDecoder[ToWorker](ToWorker).feed(encode_frames([sent]))
    assert got == sent


def test_a_batch_beyond_the_limit_is_split() -> None:
    """No frame is longer than the limit, and nothing is lost."""
    sent = [Report(seq, "completed", 0.0, b"x" * 100) for seq in range(50)]
    raw = encode_frames(sent, limit=1_000)
    assert decoder(limit=1_000).feed(raw) == sent


def test_a_message_beyond_the_limit_names_its_size() -> None:
    """A single message that does not fit is refused where it is sent."""
    with pytest.raises(FrameTooLarge, match=r"Report has 10\d\d bytes; .* 1000") as caught:
        encode_frames([Report(1, "completed", 0.0, b"x" * 1_000)], limit=1_000)
    assert caught.value.limit == 1_000


def test_a_length_beyond_the_limit_is_refused_before_it_is_buffered() -> None:
    """Four bytes of nonsense must not make the node wait for gigabytes."""
    with pytest.raises(BadFrame, match="the limit is 1000"):
        decoder(limit=1_000).feed(b"\xff\xff\xff\xff")


def test_bytes_that_are_no_message_are_refused() -> None:
    """A frame of something else is an error, not a surprise later."""
    with pytest.raises(BadFrame, match="cannot be read"):
        decoder().feed(encode_frames([{"not": "a message"}]))
