"""Which jobs share a limit: a path into the job, such as `args.account_id`, and the key that it finds there."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealing import SEALED_KEY, CannotOpen, bound_id, hidden

__all__ = ["LONGEST_KEY", "KeyPath", "partition_of"]

_ROOTS: Final = ("args", "meta", "partition_key")

LONGEST_KEY: Final = 200
"""Characters; what is longer is known by its hash."""

_encoder = msgspec.json.Encoder(order="sorted")


def partition_of(record: Record) -> str | None:
    """Give the partition of a job in a fair queue; `None` is one that all jobs without a key share."""
    extra = record.extra
    return None if extra is None else extra.partition_key


class KeyPath:
    """A path of names joined by dots: `args.account_id`, `meta.region`, `partition_key`.

    Args:
        text: begins with `args`, `meta` or `partition_key`.
        where: whose path it is, for the error.

    Raises:
        BadConfiguration: naming what may stand there.
    """

    __slots__ = ("_names", "_root", "text")

    def __init__(self, text: object, where: str) -> None:
        names = text.split(".") if isinstance(text, str) else [""]
        root, *inner = names
        if root not in _ROOTS or not all(names) or bool(inner) == (root == "partition_key"):
            raise BadConfiguration(
                f'{where} is {text!r}; give "args.NAME", "meta.NAME" (deeper with more dots) or "partition_key".'
                f"{did_you_mean(root, _ROOTS) if root not in _ROOTS else ''}"
            )
        self.text = str(text)
        self._root = root
        self._names = tuple(inner)

    def read(self, record: Record) -> str:
        """Give the key of a job: the value's JSON text, so that 1 and "1" differ; an empty text when there is none.

        Objects with the same entries have the same key, whatever their order. What cannot be read has none. Of what is
        encrypted the key is a keyed hash: keys of limits are stored and told.
        """
        hide: Callable[[bytes], str] | None = None
        if self._root == "partition_key":
            value: Any = partition_of(record)
        else:
            try:
                value = json.decode(record.args if self._root == "args" else record.meta)
                if SEALED_KEY in value:
                    value, hide = hidden(value, bound_id(record), self._root)
            except (CannotOpen, ValueError):
                return ""  # it will not run either
            for name in self._names:
                value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return ""
        try:
            raw = _encoder.encode(value)
        except RecursionError:
            return ""
        if hide is not None:
            return hide(raw)
        key = raw.decode()
        return key if len(key) <= LONGEST_KEY else sha256(key.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"KeyPath({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPath) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)
