"""How nodes share the tokens of one limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.sharing import Holder, fair_shares, hand_out

HOLDERS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12), st.integers(0, 5)), max_size=6).map(
    lambda rows: [Holder(number, held, max(held, wanted), served) for number, (held, wanted, served) in enumerate(rows)]
)


@given(capacity=st.integers(1, 30), holders=HOLDERS)
def test_what_is_handed_out_is_all_that_is_free_and_no_more(capacity: int, holders: list[Holder]) -> None:
    """The sum stays within the capacity; nothing stays free while somebody waits; nobody gets more than wanted."""
    before = [holder.held for holder in holders]
    lucky = hand_out(capacity, holders)
    total = sum(holder.held for holder in holders)
    assert total <= max(capacity, sum(before))
    if total < capacity:
        assert all(holder.held >= holder.wanted for holder in holders)
    for holder, had in zip(holders, before, strict=True):
        assert had <= holder.held <= max(had, holder.wanted)
        assert (holder.held > had) == any(holder is other for other in lucky)


@given(capacity=st.integers(1, 30), holders=HOLDERS)
def test_shares_are_max_min_fair(capacity: int, holders: list[Holder]) -> None:
    """Whoever does not get what it wants has at most one less than anybody else."""
    shares = fair_shares(capacity, holders)
    wanted = {holder.node: holder.wanted for holder in holders}
    assert sum(shares.values()) == min(capacity, sum(wanted.values()))
    assert all(share <= wanted[node] for node, share in shares.items())
    for node, want in wanted.items():
        if shares.get(node, 0) < want:
            assert all(other <= shares.get(node, 0) + 1 for other in shares.values())


@given(nodes=st.integers(2, 5))
def test_a_limit_of_one_goes_round(nodes: int) -> None:
    """Each who waits has its turn before anybody has a second one."""
    holders = [Holder(number, 0, 1) for number in range(nodes)]
    turns = []
    for _ in range(3 * nodes):
        (lucky,) = hand_out(1, holders)
        turns.append(lucky.node)
        assert fair_shares(1, holders) != {lucky.node: 1}, "it is to give way"
        lucky.held = 0
    assert turns == turns[:nodes] * 3
    assert sorted(turns[:nodes]) == list(range(nodes))


def test_a_large_limit_is_handed_out_in_few_steps() -> None:
    """A billion tokens, two nodes: at once, and about in halves."""
    holders = [Holder(1, 0, 10**9), Holder(2, 0, 10**9)]
    hand_out(10**9, holders)
    assert sum(holder.held for holder in holders) == 10**9
    assert abs(holders[0].held - holders[1].held) <= 1


def test_a_limit_that_was_lowered_takes_nothing_away() -> None:
    """What is held above it comes back when its jobs end."""
    holders = [Holder(1, 5, 5), Holder(2, 0, 3)]
    assert hand_out(3, holders) == []
    assert fair_shares(3, holders)[1] < 5
