"""How values, errors and exit reasons become bytes for another process, and what is said when they cannot.

Plain pickle where it serves; by value (cloudpickle) where a class or function cannot be imported on the other side, as
in `__main__`, notebooks, functions. Large buffers that pickle 5 can keep out of the stream travel beside it.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from kathikon_actors.actors.errors import RemoteError, Unpicklable
from supervisors import Crash, ExitReason, Killed, Normal, Shutdown

__all__ = ["Payload", "dump", "dump_call", "dump_error", "dump_reason", "load", "load_error", "load_reason"]

Payload = Any
"""What msgpack carries: bytes, or a list of bytes whose first is the pickle and the others its buffers."""

_DEPTH = 50
_NORMAL, _KILLED, _SHUTDOWN, _CRASH = range(4)
_DUMPS = pickle.dumps


def dump(value: object, what: str) -> Payload:
    """Make a payload of `value`.

    Raises:
        Unpicklable: it cannot be; `what` is what the path to the culprit begins with.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = _DUMPS(value, 5, buffer_callback=buffers.append)
        if b"__main__" not in data:
            return data if not buffers else [data, *(buffer.raw() for buffer in buffers)]
    except Exception:  # whatever the user's own objects raise; by value may still do  # noqa: S110
        pass
    import cloudpickle  # type: ignore[import-untyped]

    try:
        by_value: bytes = cloudpickle.dumps(value, 5)
    except Exception as error:  # as above
        raise _blame(value, what, error) from error
    return by_value


def dump_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Payload:
    """Make a payload of the arguments of a call."""
    try:
        return dump((args, kwargs), "")
    except Unpicklable as error:
        path = error.path
        path = "args" + path[3:] if path.startswith("[0]") else "kwargs" + path[3:]
        raise Unpicklable(path, error.kind, error.why) from error.__cause__


def load(payload: Payload) -> Any:
    """Give the value back; raises whatever its classes raise."""
    if type(payload) is bytes:
        return pickle.loads(payload)  # noqa: S301 a socketpair that only the node and its children hold
    data, *buffers = payload
    return pickle.loads(data, buffers=[bytearray(buffer) for buffer in buffers])  # noqa: S301 as above


def dump_error(error: BaseException) -> Payload:
    """Make a payload of an exception, with its traceback as text."""
    trace = "".join(traceback.format_exception(error)) if error.__traceback__ is not None else ""
    try:
        pickled = dump(error, "")
        load(pickled)
    except Exception:  # an exception that cannot be sent, or not be made again: its text goes
        pickled = None
    return [type(error).__name__, str(error), trace, os.getpid(), pickled]


def load_error(payload: Payload) -> BaseException:
    """Give the exception back; its traceback is a note."""
    kind, text, trace, pid, pickled = payload
    error: BaseException | None = None
    if pickled is not None:
        try:
            error = load(pickled)
        except Exception:  # its class is not here, or its constructor wants what it did not keep
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(kind, text)
    if trace:
        error.add_note(f"in process {pid}:\n{trace}")
    return error


def dump_reason(reason: ExitReason) -> Payload:
    """Make a payload of an exit reason."""
    match reason:
        case Normal():
            return [_NORMAL]
        case Killed():
            return [_KILLED]
        case Shutdown(detail):
            try:
                return [_SHUTDOWN, dump(detail, "detail")]
            except Unpicklable:
                return [_SHUTDOWN, dump(repr(detail), "detail")]
        case Crash(exception):
            return [_CRASH, dump_error(exception)]


def load_reason(payload: Payload) -> ExitReason:
    """Give the exit reason back."""
    kind = payload[0]
    if kind == _CRASH:
        return Crash(load_error(payload[1]))
    if kind == _SHUTDOWN:
        try:
            return Shutdown(load(payload[1]))
        except Exception as error:  # a detail whose class is not here
            return Shutdown(f"a detail that cannot be read here ({type(error).__name__}: {error})")
    return Killed() if kind == _KILLED else Normal()


def _blame(value: object, path: str, error: Exception) -> Unpicklable:
    """Find the innermost part that cannot be pickled."""
    seen: set[int] = set()
    for _ in range(_DEPTH):
        seen.add(id(value))
        for suffix, part in _parts(value):
            if id(part) not in seen and (worse := _problem(part)) is not None:
                value, path, error = part, path + suffix, worse
                break
        else:
            break
    return Unpicklable(path or "it", type(value).__qualname__, f"{type(error).__name__}: {error}")


def _problem(value: object) -> Exception | None:
    import cloudpickle

    try:
        cloudpickle.dumps(value, 5)
    except Exception as error:
        return error
    return None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
            yield f".key({key!r})", key
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield f".item({part!r})", part
    elif not isinstance(value, type):
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)
