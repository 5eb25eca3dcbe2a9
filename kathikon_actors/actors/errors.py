"""What can go wrong with an actor, as typed errors that say what, which and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kathikon_actors.processes.exits import ExitStatus
    from supervisors import ExitReason

__all__ = [
    "ActorDied",
    "ActorError",
    "ActorIgnored",
    "BadReturnValue",
    "CallTimeout",
    "CallingSelf",
    "MailboxFull",
    "NoActorSystem",
    "NoSuchActor",
    "NotInACall",
    "ProcessDied",
    "RemoteError",
    "UnknownMessage",
    "Unpicklable",
]


def _rebuild(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    """Make an error again from its pickle, without its constructor, which takes data and not the sentence."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _nearest(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


class ActorError(Exception):
    """Base of every error that actors raise on purpose. They can be pickled if their data can."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class NoSuchActor(ActorError):
    """Nobody has this name, or the actor is dead (OTP's noproc).

    Attributes:
        target: the name, or the text of the reference.
    """

    def __init__(self, target: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"no actor {target} is alive.{_nearest(target, known)}")
        self.target = target


class CallTimeout(ActorError):
    """No reply came in time. The actor was not told and goes on; a late reply is dropped.

    Attributes:
        target: the actor.
        method: what was called.
        seconds: how long the caller waited.
    """

    def __init__(self, target: str, method: str, seconds: float) -> None:
        super().__init__(f"{target} did not answer {method} within {seconds:g} s")
        self.target = target
        self.method = method
        self.seconds = seconds


class CallingSelf(ActorError):
    """An actor called itself: it could only wait for its own end. Call the method directly, or `cast` it."""

    def __init__(self, target: str, method: str) -> None:
        super().__init__(f"{target} called its own {method}: await the method itself, or cast it")
        self.target = target
        self.method = method


class ActorDied(ActorError):
    """The actor ended before it answered, by itself or not.

    Attributes:
        target: the actor.
        method: what was called.
        reason: how it ended; for `Crash(exception)` the exception is the `__cause__` too.
    """

    def __init__(self, target: str, method: str, reason: ExitReason) -> None:
        super().__init__(f"{target} ended before it answered {method}: {reason}")
        self.target = target
        self.method = method
        self.reason = reason


class UnknownMessage(ActorError):
    """A call or cast named no public async method of the actor; that crashes it, as in OTP.

    Attributes:
        actor: the actor's class.
        method: what was called.
    """

    def __init__(self, actor: str, method: str, known: Iterable[str]) -> None:
        super().__init__(f'{actor} has no message "{method}" (a public async method).{_nearest(method, known)}')
        self.actor = actor
        self.method = method


class BadReturnValue(ActorError):
    """A hook that has nothing to return returned something; that crashes the actor, as in OTP.

    Attributes:
        hook: `init`, `started` or `handle_info`.
        value: what it returned.
    """

    def __init__(self, hook: str, value: object) -> None:
        super().__init__(f"{hook} returned {value!r}; it must return None")
        self.hook = hook
        self.value = value


class MailboxFull(ActorError):
    """The actor has a bounded mailbox and no room in it.

    Attributes:
        target: the actor.
        limit: how many messages it holds.
    """

    def __init__(self, target: str, limit: int) -> None:
        super().__init__(f"the mailbox of {target} is full ({limit} messages)")
        self.target = target
        self.limit = limit


class NoActorSystem(ActorError):
    """An actor was to start where there is no system: open one with `open_actor_system()`, or give `system=`."""

    def __init__(self) -> None:
        super().__init__("no actor system here: use `async with open_actor_system():`, or give actor_spec a system=")


class NotInACall(ActorError):
    """`defer_reply()` was used where no call is being handled, or it was deferred already."""

    def __init__(self) -> None:
        super().__init__("defer_reply() works once, inside a method that was called (not cast)")


class ActorIgnored(ActorError):
    """The actor's `init` returned `IGNORE`: there is nothing to run, and so no reference."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor} asked to be ignored: its init returned IGNORE")
        self.actor = actor


class Unpicklable(ActorError):
    """Something that had to go to another process cannot.

    Attributes:
        path: where it is, such as `args[1]['conn'].sock`.
        kind: its type.
        why: what pickle said.
    """

    def __init__(self, path: str, kind: str, why: str) -> None:
        super().__init__(f"{path} ({kind}) cannot go to another process: {why}")
        self.path = path
        self.kind = kind
        self.why = why


class RemoteError(ActorError):
    """Stands for an exception of another process that could not be sent itself; its traceback is a note.

    Attributes:
        kind: the exception's type.
        text: its words.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text


class ProcessDied(ActorError):
    """The process of an actor is gone without a word.

    Attributes:
        exit: how: the signal, the exit status, out of memory.
    """

    def __init__(self, status: ExitStatus) -> None:
        super().__init__(f"process {status.pid}: {status.text}")
        self.exit = status
