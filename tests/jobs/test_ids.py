"""UUIDv7 ids."""

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.ids import IdSource, as_uuid
from tests.jobs.make import NOW


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    """Version and variant bits are those of RFC 9562, and the first 48 bits are the milliseconds."""
    source = IdSource()
    for step in range(100):
        raw = source.next(NOW + step * 777)
        made = uuid.UUID(bytes=raw)
        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert int.from_bytes(raw[:6], "big") == (NOW + step * 777) // 1000


def test_ids_of_one_millisecond_are_strictly_increasing() -> None:
    """Ten thousand ids of one moment sort in the order in which they were made."""
    source = IdSource(random.Random(1))
    made = [source.next(NOW) for _ in range(10_000)]
    assert made == sorted(set(made))


def test_an_id_that_is_given_again_has_a_time_of_its_own() -> None:
    """Also under a clock that stands still; other ids, and other times, have theirs."""
    source, one, other = IdSource(), bytes(16), bytes([1] * 16)
    assert [source.given(one, NOW), source.given(one, NOW), source.given(one, NOW)] == [NOW, NOW + 1, NOW + 2]
    assert source.given(other, NOW) == NOW
    assert [source.given(one, NOW + 50), source.given(one, NOW + 50)] == [NOW + 50, NOW + 51]


@given(steps=st.lists(st.integers(-10_000_000, 10_000_000), max_size=60), seed=st.integers(0, 2**32))
def test_ids_increase_whatever_the_clock_does(steps: list[int], seed: int) -> None:
    """A clock that stands still or steps back does not disturb the order, nor the version."""
    source, now, last = IdSource(random.Random(seed)), NOW, b""
    for step in steps:
        now += step
        raw = source.next(now)
        assert raw > last
        assert uuid.UUID(bytes=raw).version == 7
        last = raw


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    """When random bits run out within one millisecond the order still holds."""

    class Greatest(random.Random):
        def getrandbits(self, k: int) -> int:
            return 2**k - 1

    source = IdSource(Greatest())
    first = source.next(NOW)
    source._low = 2**62 - 2  # as after 2**30 ids
    before = source.next(NOW)
    after = source.next(NOW)
    assert first < before < after
    assert int.from_bytes(after[:6], "big") in (NOW // 1000, NOW // 1000 + 1)
    assert uuid.UUID(bytes=after).version == 7


def test_ids_repeat_under_a_seed_and_differ_without() -> None:
    """The same seed and times give the same ids; two unseeded sources give others."""
    times = [NOW, NOW, NOW + 5_000, NOW - 1]

    def made(source: IdSource) -> list[bytes]:
        return [source.next(at) for at in times]

    assert made(IdSource(random.Random(7))) == made(IdSource(random.Random(7)))
    assert made(IdSource(random.Random(7))) != made(IdSource(random.Random(8)))
    assert made(IdSource()) != made(IdSource())


@given(raw=st.binary(min_size=16, max_size=16))
def test_as_uuid_is_what_uuid_makes(raw: bytes) -> None:
    """The fast path equals the standard library's in value, hash and text."""
    fast, slow = as_uuid(raw), uuid.UUID(bytes=raw)
    assert (fast, hash(fast), str(fast), fast.is_safe) == (slow, hash(slow), str(slow), slow.is_safe)
