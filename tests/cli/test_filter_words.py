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
