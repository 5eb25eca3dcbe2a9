"""Liveness probes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisors import Crash, InvalidSpec, Probe, ProbeFailed, open_supervisor
from tests.supervisors.tools import puppets, watch


class Answers:
    """A check that gives the answers it was given, then yes; notes what it was asked about."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[object] = []

    async def __call__(self, info: object) -> object:
        self.asked.append(info)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, BaseException):
            raise answer
        if answer == "slow":
            await trio.sleep(100)
        return answer


async def test_probe_noes_in_a_row_crash_the_child(autojump_clock: MockClock) -> None:
    """False, an exception and a timeout are noes; one yes between them starts the count anew."""
    _, (a,) = puppets("a")
    check = Answers(False, False, True, False, ValueError("x"), "slow")
    async with open_supervisor([a.spec(probe=Probe(check, period=10.0, timeout=1.0, failures=3))]) as tree:
        await trio.sleep(60.5)
        assert a.lives == 1
        await trio.sleep(1)
        assert a.lives == 2
        last = tree.which_child("a").last_exit
        assert isinstance(last, Crash)
        assert isinstance(last.exception, ProbeFailed)
        assert isinstance(last.exception.__cause__, trio.TooSlowError)
        await trio.sleep(100)
        assert (a.lives, set(check.asked)) == (2, {"a1", "a2"})


async def test_probe_ends_with_its_child_and_leaves_a_stop_alone(autojump_clock: MockClock) -> None:
    """No question after the end; a no during the cleanup is no crash."""
    _, (a,) = puppets("a")
    a.cleanup = 35
    check = Answers(False, False, False, False, False, False)
    async with open_supervisor(
        [a.spec(shutdown=60.0, probe=Probe(check, period=10.0, failures=2))], kill_timeout=1.0
    ) as tree:
        seen = watch(tree)
        await trio.sleep(15)
        await tree.terminate_child("a")
        assert seen == []
        asked = len(check.asked)
        await trio.sleep(100)
        assert len(check.asked) == asked


async def test_probe_that_is_interrupted_interrupts_the_tree(autojump_clock: MockClock) -> None:
    """A KeyboardInterrupt in it is nobody's no."""
    diary, (a, b) = puppets("ab")
    with pytest.raises(KeyboardInterrupt):
        async with open_supervisor([a.spec(), b.spec(probe=Probe(Answers(KeyboardInterrupt()), period=1.0))]):
            await trio.sleep_forever()
    assert diary == ["+a", "+b", "-b", "-a"]


@pytest.mark.parametrize(
    ("field", "value"), [("check", 1), ("period", 0), ("timeout", -1), ("period", float("inf")), ("failures", 0)]
)
def test_probe_bad_values_are_named(field: str, value: Any) -> None:
    """As for specs."""
    with pytest.raises(InvalidSpec) as caught:
        Probe(**{"check": Answers(), field: value})
    assert caught.value.field == field
    _, (a,) = puppets("a")
    with pytest.raises(InvalidSpec, match="probe"):
        a.spec(probe=5)
