"""What every store promises of questions to nodes."""

from __future__ import annotations

from kathikon_actors.store.commands import COMMANDS, Question
from kathikon_actors.store.protocol import Store
from tests.store.conftest import Backend
from tests.support.waiting import eventually


async def test_a_question_is_for_the_node_that_is_asked_and_answered_once(store: Store) -> None:
    """Who asked takes the answer, and it is gone."""
    one, two = await store.join("one", 30), await store.join("two", 30)
    number = await store.ask_node("two", "tree", 10)
    assert number is not None
    assert await store.open_commands(one, 0, 10) == []
    assert await store.open_commands(two, 0, 10) == [Question(number, "tree")]
    assert await store.take_answer(number) is None
    await store.give_answers([(number, '{"ok": 1}')])
    assert await store.open_commands(two, 0, 10) == []
    assert await store.take_answer(number) == '{"ok": 1}'
    assert await store.take_answer(number) is None
    await store.give_answers([(number, '{"ok": 2}')])  # a second one comes too late
    assert await store.take_answer(number) is None


async def test_nobody_answers_what_nobody_waits_for(store: Store) -> None:
    """Neither when its time is up nor when it was taken back."""
    member = await store.join("one", 30)
    assert await store.ask_node("nobody", "tree", 10) is None
    late = await store.ask_node("one", "tree", 0)
    back = await store.ask_node("one", "tree", 10)
    assert late is not None and back is not None and back > late
    await store.withdraw(back)
    assert await store.open_commands(member, 0, 10) == []


async def test_who_is_asked_is_told(backend: Backend) -> None:
    """By the notice for commands."""
    store, other = await backend.connect(), await backend.connect()
    await store.join("one", 30)
    told: list[int] = []
    await store.listen_control(COMMANDS, lambda: told.append(1))
    await other.ask_node("one", "tree", 10)
    await eventually(lambda: told, "it was told")
