"""What the node and the zygote say to each other, in frames (see `frames`); descriptors travel beside them."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Exited",
    "Fork",
    "Forked",
    "FromZygote",
    "Hello",
    "Hold",
    "Kind",
    "NotPreloaded",
    "Ready",
    "StartMethod",
    "ToZygote",
    "WorkerRef",
]

Kind = Literal["plain", "async"]
"""`plain`: one plain function at a time in the main thread. `async`: many jobs on a trio loop."""

StartMethod = Literal["fork", "spawn"]


class WorkerRef(msgspec.Struct, array_like=True):
    """Where another process finds a worker.

    Attributes:
        name: what jobs call it.
        module: to import, with `qualname` inside it.
        pickled: the definition by value, for what cannot be imported; then `module` is not.
    """

    name: str
    module: str
    qualname: str
    pickled: bytes | None = None


class Hello(msgspec.Struct, array_like=True):
    """What the zygote is told when it starts.

    Attributes:
        parent: the node's process id.
        preload: import the workers' modules before forking.
        trio: some worker is async: have trio loaded before forking.
        middleware: the app's chain, which runs around every worker.
        modules: what programs need, to be imported before forking too.
        keys: for jobs that are encrypted, newest first.
    """

    parent: int
    workers: list[WorkerRef]
    preload: bool
    trio: bool
    start_method: StartMethod
    middleware: list[WorkerRef] = msgspec.field(default_factory=list)
    modules: list[str] = msgspec.field(default_factory=list)
    keys: list[bytes] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Hello of {self.parent}: {len(self.workers)} workers, {len(self.keys)} keys>"


class Fork(msgspec.Struct, array_like=True, tag="fork"):
    """Start a worker process. Beside it travel its socket and its shared page, in this order.

    Attributes:
        entry: `module:function` of a program, which is called with the socket and the page; empty for workers.
    """

    request: int
    kind: Kind
    slots: int
    title: str
    entry: str = ""


class Hold(msgspec.Struct, array_like=True, tag="hold"):
    """The node holds its lease until then; when nothing newer comes, every worker process is to be dead by that time.

    Attributes:
        until: seconds of the system's monotonic clock.
    """

    until: float


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """The zygote takes requests."""


class NotPreloaded(msgspec.Struct, array_like=True, tag="not_preloaded"):
    """The zygote cannot fork safely and ends.

    Attributes:
        reason: `import`: a module could not be imported. `threads`: an import started threads.
        text: the traceback, or the threads.
    """

    reason: Literal["import", "threads"]
    text: str


class Forked(msgspec.Struct, array_like=True, tag="forked"):
    """The answer to `Fork`. Its pidfd travels beside it when `pidfd` is set.

    Attributes:
        pid: 0 when it could not be started; `error` says why.
    """

    request: int
    pid: int
    pidfd: bool
    error: str = ""


class Exited(msgspec.Struct, array_like=True, tag="exited"):
    """A worker process ended and was reaped, with its process group."""

    pid: int
    code: int | None
    signal: int | None
    out_of_memory: bool


ToZygote = Fork | Hold
FromZygote = Ready | NotPreloaded | Forked | Exited
