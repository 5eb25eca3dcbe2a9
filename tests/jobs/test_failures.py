"""`retry_on` and `discard_on`: which exceptions are worth another attempt."""

from __future__ import annotations

from typing import Any

import pytest

from kathikon_actors.jobs.backoff import linear
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.failures import FailureRules, check_discard_on, check_retry_on
from kathikon_actors.jobs.worker import Worker, worker


def rules(retry_on: Any = (), discard_on: Any = ()) -> FailureRules:
    return FailureRules(check_retry_on("w", retry_on), check_discard_on("w", discard_on))


def test_without_rules_everything_is_retried() -> None:
    """The default of a worker."""
    assert not rules()
    assert rules().rule(ValueError()).verdict == "retry"
    assert rules().rule(SystemExit()).verdict == "retry"


def test_what_discard_on_names_is_discarded_with_its_subclasses() -> None:
    """And nothing else is."""
    only = rules(discard_on=[LookupError])
    assert only.rule(KeyError()).verdict == "discard"
    assert only.rule(ValueError()).verdict == "retry"
    assert rules(discard_on=LookupError).rule(IndexError()).verdict == "discard"


def test_where_retry_on_is_given_everything_else_is_discarded() -> None:
    """It names what is worth another attempt."""
    only = rules(retry_on=(TimeoutError, ConnectionError))
    assert only.rule(ConnectionResetError()).verdict == "retry"
    assert only.rule(ValueError()).verdict == "discard"


def test_the_most_specific_type_decides_and_discard_on_wins_a_draw() -> None:
    """`OSError` is retried, one kind of it is not."""
    mixed = rules(retry_on=[OSError], discard_on=[FileNotFoundError])
    assert mixed.rule(FileNotFoundError()).verdict == "discard"
    assert mixed.rule(PermissionError()).verdict == "retry"
    inner = rules(retry_on=[KeyError], discard_on=[LookupError])
    assert inner.rule(KeyError()).verdict == "retry"
    assert inner.rule(IndexError()).verdict == "discard"
    assert rules(retry_on=[KeyError], discard_on=[KeyError]).rule(KeyError()).verdict == "discard"


def test_each_type_may_have_a_backoff_of_its_own() -> None:
    """Seconds, a function, or `None` for the worker's own."""
    mine = rules(retry_on={TimeoutError: 5, ConnectionError: linear(10), OSError: None})
    found = [mine.rule(error).backoff for error in (TimeoutError(), ConnectionError(), OSError())]
    assert found[0] is not None
    assert found[1] is not None
    assert (found[0](3, TimeoutError()), found[1](3, ConnectionError()), found[2]) == (5, 30, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retry_on", "ValueError"),
        ("retry_on", [1]),
        ("retry_on", int),
        ("retry_on", {ValueError: -1}),
        ("retry_on", {ValueError: "soon"}),
        ("discard_on", 5),
        ("discard_on", [ValueError()]),
        ("middleware", 5),
        ("middleware", [print]),
        ("middleware", "m"),
        ("on_discard", 5),
    ],
)
def test_what_is_no_rule_is_refused_when_declared(option: str, value: Any) -> None:
    """In both forms, naming worker and option."""

    def target() -> None: ...

    with pytest.raises(BadConfiguration, match=f"worker target.*{option}"):
        worker(**{option: value})(target)
    with pytest.raises(BadConfiguration, match=f"worker Form.*{option}"):
        type("Form", (Worker,), {option: value, "perform": lambda self: None})


def test_a_middleware_that_takes_something_else_is_refused() -> None:
    """It would fail at every run."""

    async def alone(job: object) -> None: ...

    with pytest.raises(BadConfiguration, match=r"middleware 'test_.*alone' does not take \(job, call_next\)|alone"):
        worker(middleware=[alone])(lambda: None)  # type: ignore[list-item]
