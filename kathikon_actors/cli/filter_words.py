"""The words that choose jobs: `state:completed queue:billing worker:charge tag:vip args.user.id:7`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.jobs.errors import did_you_mean
from kathikon_actors.jobs.states import STATES

if TYPE_CHECKING:
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.states import State

__all__ = ["FilterWords", "parse_filter"]

_KEYS = ("state", "queue", "worker", "tag", "args.PATH")
_ABSENT = object()
_MOST_DIGITS = 19
"""A longer number is no place in a list, and Python does not read every one."""


@dataclass
class FilterWords:
    """What was asked for; conditions are AND-ed.

    Attributes:
        states: any of these; empty means every state.
        tags: all of these.
        args: `(path, text)`: the argument at that path is the text, or the JSON value that the text spells.
    """

    queue: str | None = None
    worker: str | None = None
    states: tuple[State, ...] = ()
    tags: tuple[str, ...] = ()
    args: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    @property
    def only_queue_and_state(self) -> bool:
        """Whether counts by queue and state answer it."""
        return self.worker is None and not self.tags and not self.args

    @property
    def only_for_us(self) -> bool:
        """Whether the store cannot decide: a path leads through a list by a place in it, or the value is no scalar."""
        return any(
            any(name.isdecimal() for name in path) or any(isinstance(value, dict | list) for value in _meanings(text))
            for path, text in self.args
        )

    def to_filter(self) -> Filter:
        """Give the filter that the store applies; where `only_for_us`, `takes_args` decides of what it gives."""
        from kathikon_actors.jobs.filters import Filter

        one_of = [
            [_nest(path, value) for value in _meanings(text)]
            for path, text in self.args
            if not any(name.isdecimal() for name in path)
        ]
        return Filter(self.worker, self.queue, self.states, tags=self.tags, one_of=one_of)

    def takes_args(self, args: dict[str, Any]) -> bool:
        """Whether a job's arguments fit."""
        return all(_is(_at(args, path), text) for path, text in self.args)


def _check_texts(words: Sequence[str]) -> None:
    from kathikon_actors.jobs.json import NotJson, check_text

    for number, word in enumerate(words, 1):
        try:
            check_text(word, f"filter {number}")
        except NotJson as error:
            raise click.UsageError(str(error)) from None


def parse_filter(words: Sequence[str]) -> FilterWords:
    """Understand filter words.

    Raises:
        click.UsageError: naming the word and what is legal.
    """
    found = FilterWords()
    for word in words:
        key, colon, value = word.partition(":")
        if not colon or not value:
            raise click.UsageError(f'"{word}" is no filter; give KEY:VALUE with a key of {", ".join(_KEYS)}')
        if key == "state":
            if value not in STATES:
                raise click.UsageError(f'no state "{value}" (known: {", ".join(STATES)}).{did_you_mean(value, STATES)}')
            found.states = (*found.states, value)
        elif key == "tag":
            found.tags = (*found.tags, value)
        elif key in ("queue", "worker"):
            if getattr(found, key) is not None:
                raise click.UsageError(f'"{word}": {key} is given twice, and no job has two')
            setattr(found, key, value)
        elif key.startswith("args.") and all(path := key.split(".")):
            found.args.append((tuple(path[1:]), value))
        else:
            raise click.UsageError(f'no filter key "{key}" (known: {", ".join(_KEYS)}).{did_you_mean(key, _KEYS)}')
    _check_texts(words)
    try:
        found.to_filter()
    except ValueError as error:
        raise click.UsageError(f"the filter cannot be used: {error}") from None
    except RecursionError:
        raise click.UsageError("a filter's value is nested too deep") from None
    return found


def _meanings(text: str) -> list[Any]:
    """Give what a text may stand for: itself, and the JSON value that it spells."""
    import json

    from kathikon_actors.jobs.json import encode_strict

    try:
        value = json.loads(text)
        encode_strict(value, "")
    except ValueError:  # also NaN and what is larger than any number
        return [text]
    return [text, value] if value != text else [text]


def _nest(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and len(name) < _MOST_DIGITS and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value


def _is(value: Any, text: str) -> bool:
    import json

    if value == text:
        return True
    try:
        wanted = json.loads(text)
    except ValueError:
        return False
    # True is no 1 in JSON.
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
