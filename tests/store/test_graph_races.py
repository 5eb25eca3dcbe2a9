"""What two connections do at the same moment to jobs that hang together: one outcome, never none, never two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique
from kathikon_actors.store import lanes
from tests.store.conftest import Backend
from tests.store.test_graph import (
    DEBOUNCED,
    Desk,
    a_desk,
    begun,
    callback,
    child,
    counted,
    ended,
    member,
    new_batch,
    started,
    unique,
)
from tests.support.records import new_record, now_us
from tests.support.rounds import rounds

ROUNDS = rounds(200)
"""Of the cheap ones; half of it of the others."""

MANY, FEW = 400, max(1, ROUNDS // 4)
"""Keys of two batches that are to meet in the middle, and such batches."""


@pytest.fixture(params=["postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """Real connections only."""
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is stored in the hope that its keys are free, however often they were not."""
    monkeypatch.setattr(lanes, "WARY", 0)


async def two(backend: Backend) -> tuple[Desk, Desk]:
    return await a_desk(await backend.connect(), "a"), await a_desk(await backend.connect(), "b")


async def at_once(*calls: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)


async def end_all(desk: Desk) -> None:
    """Leave nothing behind for the next round: what is live is ended."""
    for record in await desk.store.claim(desk.membership, ["default"], 100):
        await desk.write(ended(record))


@pytest.mark.usefixtures("trusting")
async def test_of_two_identical_inserts_one_is_stored(backend: Backend) -> None:
    """The primary key decides; in insert many as well, where others of the batch are stored."""
    a, b = await two(backend)
    for number in range(ROUNDS):
        key = number.to_bytes(16, "big")
        answers = []

        async def insert(desk: Desk, *records: Record) -> None:
            answers.append((await desk.insert(*records))[-1])  # noqa: B023

        first, second = unique(key=key), unique(key=key)
        await at_once(
            lambda: insert(a, new_record(), first),  # noqa: B023
            lambda: insert(b, new_record(), second),  # noqa: B023
        )
        assert sorted(answer.conflict for answer in answers) == [False, True]
        ids = {answer.record.id for answer in answers if answer.record is not None}
        assert len(ids) == 1
    assert (await a.store.counts())[0].by_state == {"available": 3 * ROUNDS}


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("policy", [Unique(period=3600), Unique(replace=("priority",))], ids=["period", "replace"])
async def test_of_two_inserts_under_two_policies_one_is_stored(backend: Backend, policy: Unique, many: bool) -> None:
    """The usual one holds its key by its row, the other by `unique_keys`: they meet all the same."""
    a, b = await two(backend)
    for number in range(ROUNDS):
        key = number.to_bytes(15, "big") + bytes(1)
        usual, other = unique(key=key), unique(policy, key=key)
        others = [unique(key=number.to_bytes(15, "big") + bytes([n])) for n in range(1, 5)] if many else []
        answers: dict[bytes, Answer] = {}

        async def insert(desk: Desk, record: Record, others: list[Record], found: dict[bytes, Answer]) -> None:
            found[record.id] = (await desk.insert(*others[:2], record, *others[2:]))[len(others[:2])]

        await at_once(
            lambda: insert(a, usual, others, answers),  # noqa: B023
            lambda: insert(b, other, [], answers),  # noqa: B023
        )
        assert sorted(answer.conflict for answer in answers.values()) == [False, True], number
        assert len({answer.record.id for answer in answers.values() if answer.record is not None}) == 1


@pytest.mark.usefixtures("trusting")
async def test_a_client_and_a_node_that_insert_the_same_store_one(backend: Backend) -> None:
    """Rows that nobody owns go another way than those of a node."""
    a, b = await two(backend)
    for number in range(ROUNDS):
        key = number.to_bytes(16, "big")
        mine, theirs = unique(key=key), unique(key=key)
        answers: list[Answer] = []

        async def insert_as_client(record: Record, found: list[Answer]) -> None:
            found.append((await b.store.insert_composed([record]))[record.id])

        async def insert(record: Record, found: list[Answer]) -> None:
            found += await a.insert(record)

        await at_once(lambda: insert(mine, answers), lambda: insert_as_client(theirs, answers))  # noqa: B023
        assert sorted(answer.conflict for answer in answers) == [False, True], number


@pytest.mark.usefixtures("trusting")
async def test_a_key_that_lasts_beyond_a_job_is_never_overlooked(backend: Backend) -> None:
    """The job ends while its like is inserted: its key stays taken."""
    a, b = await two(backend)
    policy = Unique(states=(*UNIQUE_STATES, "completed"))
    for number in range(ROUNDS):
        key = number.to_bytes(16, "big")
        first = unique(policy, key=key)
        answers: list[Answer] = []

        async def insert(record: Record, found: list[Answer]) -> None:
            found += await b.insert(record)

        async def insert_and_end(record: Record, found: list[Answer]) -> None:
            answer = (await a.insert(record))[0]
            found.append(answer)
            if not answer.conflict:
                await a.write(ended(record))

        like = unique(key=key)
        await at_once(lambda: insert_and_end(first, answers), lambda: insert(like, answers))  # noqa: B023
        assert sorted(answer.conflict for answer in answers) == [False, True], number


@pytest.mark.usefixtures("trusting")
async def test_batches_of_the_same_keys_in_other_orders_do_not_wait_in_a_circle(backend: Backend) -> None:
    """Keys are taken in one order everywhere."""
    a, b = await two(backend)
    for number in range(FEW):
        keys = [number.to_bytes(8, "big") + other.to_bytes(8, "big") for other in range(MANY)]
        one, two_ = [unique(key=key) for key in keys], [unique(key=key) for key in reversed(keys)]
        with trio.fail_after(20):
            await at_once(lambda: a.insert(*one), lambda: b.insert(*two_))  # noqa: B023
    counts = await a.store.counts()
    assert counts[0].by_state == {"available": MANY * FEW}


@pytest.mark.usefixtures("trusting")
async def test_a_key_that_is_freed_while_its_like_is_inserted_is_never_stuck(backend: Backend) -> None:
    """Either the insert met the job before its end, or it is stored."""
    a, b = await two(backend)
    for _ in range(ROUNDS):
        first, second = unique(), unique()
        (answer,) = await a.insert(first)
        assert not answer.conflict
        answers = []

        async def insert(second: Record = second) -> None:
            answers.extend(await b.insert(second))  # noqa: B023

        await at_once(lambda: a.write(ended(first)), insert)  # noqa: B023
        if not answers[0].conflict:
            await b.write(ended(second))
        (again,) = await a.insert(third := unique())
        assert not again.conflict
        await a.write(ended(third))


async def test_a_parent_that_ends_while_a_child_is_inserted_frees_it(backend: Backend) -> None:
    """The child is blocked for no longer than its parent runs."""
    a, b = await two(backend)
    for number in range(ROUNDS):
        parent, other = new_record(), new_record()
        await a.insert(parent, other)
        waits = child(parent, other) if number % 2 else child(other, parent)
        state = "completed" if number % 3 else "discarded"
        await at_once(
            lambda: a.write(ended(parent, state), ended(other)),  # noqa: B023
            lambda: b.insert(waits),  # noqa: B023
        )
        assert await a.state(waits) == ("available" if state == "completed" else "cancelled")
        await end_all(b)


async def test_two_parents_that_end_at_once_free_their_child_once(backend: Backend) -> None:
    """A diamond whose sides end on two connections."""
    a, b = await two(backend)
    for number in range(ROUNDS):
        result = b"1" if number % 2 else None
        left, right = new_record(), new_record()
        waits = child(left, right)
        await a.insert(left)
        await b.insert(right, waits)
        await at_once(lambda: a.write(ended(left, result=result)), lambda: b.write(ended(right, result=result)))  # noqa: B023
        stored = await a.row(waits)
        assert stored.state == "available"
        assert stored.history.count(b"unblocked") == 1
        assert stored.extra is not None and stored.extra.dependency_results.count(b":") == (2 if result else 0)
        await end_all(a)


@pytest.mark.parametrize("sealed", [True, False])
async def test_the_last_two_children_at_once_insert_one_callback(backend: Backend, sealed: bool) -> None:
    """Also when the batch is closed at that moment."""
    a, b = await two(backend)
    for _ in range(ROUNDS // 2):
        batch = new_batch(on_complete=callback("complete"))
        await a.store.batches.open(batch)
        one, other = member(batch), member(batch)
        await a.insert(one)
        await b.insert(other)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: a.write(ended(one)),  # noqa: B023
            lambda: b.write(ended(other, "cancelled")),  # noqa: B023
        ]
        if sealed:
            await a.store.batches.seal(batch.id)
        else:
            calls.append(lambda: b.store.batches.seal(batch.id))  # noqa: B023
        await at_once(*calls)
        claimed = await a.store.claim(a.membership, ["default"], 10)
        assert [record.worker for record in claimed] == ["complete"]
        await a.write(ended(claimed[0]))


async def test_a_job_that_begins_to_wait_while_its_last_child_ends_ends_too(backend: Backend) -> None:
    """Whichever commit is first."""
    a, b = await two(backend)
    for _ in range(ROUNDS // 2):
        parent = new_record()
        await a.insert(parent)
        run = started(parent)
        batch = new_batch(parent_id=parent.id, run_at=run.attempted_at)
        await a.store.batches.open(batch)
        last = member(batch)
        await b.insert(last)
        machine.wait(run, now_us(), b"null")
        await at_once(lambda: a.write(run), lambda: b.write(ended(last)))  # noqa: B023
        assert await a.state(parent) == "completed"


async def test_an_inner_batch_that_goes_on_while_the_outer_one_resolves_is_counted_once(backend: Backend) -> None:
    """Its child is retried while the outer's last other child, and one of its own, end."""
    a, b = await two(backend)
    for number in range(ROUNDS // 2):
        outer = new_batch()
        await a.store.batches.open(outer)
        inner = new_batch(outer_id=outer.id)
        await a.store.batches.open(inner)
        failed, other, last = member(inner), member(inner), member(outer)
        await a.insert(failed, other)
        await b.insert(last)
        await a.store.batches.seal(inner.id)
        await a.store.batches.seal(outer.id)
        await a.write(ended(failed, "discarded"))
        if number % 2:
            await a.write(ended(other))
        with trio.fail_after(20):
            await at_once(
                lambda: b.store.change(failed.id, Change("retry", now_us())),  # noqa: B023
                lambda: a.write(*([] if number % 2 else [ended(other)])),  # noqa: B023
                lambda: b.write(ended(last)),  # noqa: B023
            )
        assert await counted(a.store, outer, inner) == [(1, 0, "running"), (1, 0, "running")]
        await end_all(a)
        assert await counted(a.store, outer, inner) == [(2, 0, "succeeded"), (2, 0, "succeeded")]


async def test_a_replace_and_a_start_at_once_do_not_both_win(backend: Backend) -> None:
    """Either the job starts as it was, or it is changed and starts later."""
    a, b = await two(backend)
    policy = Unique(replace=("args",))
    for _ in range(ROUNDS // 2):
        first = unique(policy, args=b"1")
        first.args = b'{"n":1}'
        await a.insert(first)
        start = copy(first)
        start.fence = 0
        start.extra = Extra(unique_key=start.extra.unique_key if start.extra else None, guarded=0, begun=1)
        refused: list[set[bytes]] = []

        async def begin(start: Record = start) -> None:
            refused.append(await a.write(start))  # noqa: B023

        await at_once(begin, lambda: b.insert(unique(policy, args=b'{"n":2}')))
        stored = await a.row(first)
        started = not refused[0]
        assert started == (stored.args == b'{"n":1}') == (stored.node == "a")
        if started:
            await a.write(ended(first))
        else:
            await end_all(b)


async def test_a_replace_and_the_failure_of_a_run_at_once_do_not_wait_in_a_circle(backend: Backend) -> None:
    """The job is replaced and put off, or its like runs behind it; what is wanted is never lost."""
    a, b = await two(backend)
    for number in range(ROUNDS // 4):
        first = unique(DEBOUNCED, key=number.to_bytes(16, "big"), args=b'{"n":1}')
        await a.insert(first)
        run = await begun(a, first)
        run.fence = 0
        machine.fail(run, now_us(), machine.quote_error(now_us(), 1, "error", "boom"), 60.0)
        late = unique(DEBOUNCED, key=number.to_bytes(16, "big"), args=b'{"n":2}')
        with trio.fail_after(20):
            await at_once(lambda: a.write(run), lambda: b.insert(late))  # noqa: B023
        stored = await a.row(first)
        assert stored.state == "retryable"
        replaced = stored.args == b'{"n":2}'
        assert (stored.node is None) == replaced
        await a.store.release(a.membership, [first.id])
        await a.store.change(first.id, Change("cancel", now_us()))
        again = [record for record in await a.all() if record.state == "scheduled"]
        assert [record.args for record in again] == ([] if replaced else [b'{"n":2}'])
        for record in again:
            await a.store.release(a.membership, [record.id])
            await a.store.change(record.id, Change("discard", now_us()))
