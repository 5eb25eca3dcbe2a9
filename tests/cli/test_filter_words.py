"""Filter words choose jobs."""

from __future__ import annotations

import click
import pytest

from kathikon_actors.cli.filter_words import parse_filter

ARGS = {"user": {"id": 7, "name": "7", "vip": True, "none": None}, "items": ["a", {"b": 1.5}], "url": "http://x"}


def test_words_are_anded_and_states_are_alternatives() -> None:
    """Each key lands in its place."""
    found = parse_filter(["state:completed", "state:discarded", "queue:a:b", "worker:w", "tag:x", "tag:y"])
    assert (found.states, found.queue, found.worker, found.tags) == (
        ("completed", "discarded"),
        "a:b",
        "w",
        ("x", "y"),
    )
    assert not found.only_queue_and_state and parse_filter(["state:completed", "queue:q"]).only_queue_and_state


@pytest.mark.parametrize(
    "word",
    ["args.user.id:7", "args.user.name:7", "args.user.vip:true", "args.user.none:null", "args.items.0:a",
     "args.items.1.b:1.5", "args.url:http://x", 'args.items:["a",{"b":1.5}]'],
)  # fmt: skip
def test_an_argument_fits_as_text_or_as_the_json_value_that_the_text_spells(word: str) -> None:
    """By a path through objects and lists."""
    assert parse_filter([word]).takes_args(ARGS)


@pytest.mark.parametrize(
    "word",
    ["args.user.id:8", "args.user.vip:1", "args.user.id:true", "args.user.nobody:7", "args.items.2:a", "args.items.x:a",
     "args.user.id.deeper:7", "args.user.none:0"],
)  # fmt: skip
def test_an_argument_that_is_another_or_absent_does_not_fit(word: str) -> None:
    """True is not 1."""
    assert not parse_filter([word]).takes_args(ARGS)


@pytest.mark.parametrize(
    "words", [["completed"], ["state:"], ["state:done"], ["args:7"], ["args..x:7"], ["queue:a", "queue:b"], ["id:7"]]
)
def test_what_is_no_filter_is_refused(words: list[str]) -> None:
    """Naming the word."""
    with pytest.raises(click.UsageError) as caught:
        parse_filter(words)
    assert words[-1].partition(":")[0] in str(caught.value)


@pytest.mark.parametrize(
    "word",
    ["queue:\udcff", "tag:\udcff", "args.x.0:\udcff", "args.\udcff.0:1", "args.x:" + "[" * 100_000,
     "args." + "a." * 300 + "a:1"],
)  # fmt: skip
def test_a_word_that_no_job_can_meet_is_a_usage_error(word: str) -> None:
    """Bytes that are no text, and values or paths nested too deep."""
    with pytest.raises(click.UsageError):
        parse_filter([word])


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "9" * 5_000])
def test_what_is_no_json_number_is_meant_as_text(text: str) -> None:
    """It is never a value that no job can hold."""
    found = parse_filter([f"args.x:{text}"])
    assert found.to_filter().one_of == [[{"x": text}]] and found.takes_args({"x": text})


def test_a_place_in_a_list_may_have_any_number_of_digits() -> None:
    """There is nothing there."""
    assert not parse_filter([f"args.items.{'9' * 5_000}:1"]).takes_args(ARGS)
