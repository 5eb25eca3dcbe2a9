"""The JSON that jobs travel as: strict, with the path of what does not fit.

Arguments come back from the database exactly as they were given, so only what JSON itself knows is let in: no
dates, no bytes, no NaN, no keys but strings.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

__all__ = ["NotJson", "check_text", "decode", "encode", "encode_strict", "is_text"]

_PLAIN = (str, int, float, dict, list, tuple)
_SCALARS = frozenset({str, int, bool, type(None)})
_MAX_DEPTH = 200

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class NotJson(ValueError):
    """A value is not JSON.

    Attributes:
        path: where it stands, such as `args.user.id`.
        problem: what is wrong with it.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path} {problem}")


def is_text(value: object) -> bool:
    """Tell whether `value` is text that UTF-8 and Postgres can hold: no NUL, no lone surrogate."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_strict(value: object, path: str) -> bytes:
    """Encode a value that is JSON through and through.

    Raises:
        NotJson: naming the offending path, such as `args.items[3].at`.
    """
    _check(value, path, 0)
    try:
        raw = _encoder.encode(value)
    except UnicodeEncodeError:
        check_text(value, path)
        raise
    except (OverflowError, ValueError) as error:
        raise NotJson(path, f"cannot be written as JSON: {error}") from None
    if b"\\u0000" in raw:
        check_text(value, path)
    return raw


def encode(value: object) -> bytes:
    """Encode what is known to be JSON."""
    return _encoder.encode(value)


def decode(raw: bytes | str) -> Any:
    """Decode JSON as it stands in a store.

    Raises:
        ValueError: it is not what `encode_strict` lets in: SQL can store deeper nesting and larger numbers.
    """
    try:
        return _decoder.decode(raw)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _check(value: object, path: str, depth: int) -> None:
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise NotJson(path, f"is {value}, which JSON has no number for")
    elif depth > _MAX_DEPTH:
        raise NotJson(path, f"is nested deeper than {_MAX_DEPTH} levels")
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise NotJson(f"{path}[{key!r}]", f"has a key of type {type(key).__name__}; JSON keys are strings")
            if type(item) not in _SCALARS:
                _check(item, f"{path}.{key}", depth + 1)
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):  # type: ignore[arg-type]
            if type(item) not in _SCALARS:
                _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, _PLAIN):
        plain = next(base.__name__ for base in _PLAIN if isinstance(value, base))
        raise NotJson(path, f"is of type {kind.__name__}; give a plain {plain}")
    else:
        raise NotJson(path, f"is of type {kind.__name__}, which is not JSON; give a str, number, bool, list or dict")


def check_text(value: object, path: str) -> None:
    """Refuse characters that no store can hold, wherever they stand in a value.

    Raises:
        NotJson: naming the path and the character.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise NotJson(path, "contains the character U+0000, which Postgres cannot store")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotJson(path, "contains a lone surrogate, which UTF-8 cannot hold")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"{path}[{key!r}]")
            check_text(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_text(item, f"{path}[{index}]")
