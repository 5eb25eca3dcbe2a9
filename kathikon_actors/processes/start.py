"""What a process becomes after `bootstrap`: the zygote, then in each of its children a worker."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from kathikon_actors.processes import zygote
from kathikon_actors.processes.child import work
from kathikon_actors.processes.control import Hello
from kathikon_actors.processes.linux import set_process_name

__all__ = ["BOOTSTRAP", "file_of", "interpreter", "start"]

BOOTSTRAP = str(Path(__file__).with_name("bootstrap.py"))


def interpreter() -> list[str]:
    """Give the command that starts an interpreter like this one; what the environment says needs no flag."""
    flags = ["-O"] * sys.flags.optimize
    if sys.flags.dev_mode:
        flags += ["-X", "dev"]
    if sys.flags.dont_write_bytecode:
        flags += ["-B"]
    for option in sys.warnoptions:
        flags += ["-W", option]
    return [sys.executable, *flags]


def file_of(data: bytes) -> int:
    """Give a descriptor of an unnamed file with `data`."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("kathikon-hello", os.MFD_CLOEXEC)
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="kathikon-hello-")
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 the descriptor is all that is needed of it
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def start(role: str, raw: bytes, hello_file: int, *rest: str) -> None:
    """Run the role to its end; a zygote's forked child comes through here as well.

    Args:
        role: `zygote` with the control socket's descriptor, or `worker` with its `Assignment` as JSON.
        raw: `Hello` as msgpack.
        hello_file: the descriptor `raw` came from, which a spawned worker reads again.
        *rest: see `role`.
    """
    hello = msgspec.msgpack.decode(raw, type=Hello)
    os.set_inheritable(hello_file, False)
    if role == "zygote":
        set_process_name("kathikon-zygote")
        control = int(rest[0])
        os.set_inheritable(control, False)
        assignment = zygote.serve(hello, control)
        if assignment is None:
            return
        if hello.start_method == "spawn":
            for descriptor in (hello_file, assignment.socket, assignment.page):
                os.set_inheritable(descriptor, True)
            told = msgspec.json.encode(assignment).decode()
            os.execv(sys.executable, [*interpreter(), BOOTSTRAP, "worker", str(hello_file), told])  # noqa: S606
    else:
        assignment = msgspec.json.decode(rest[0], type=zygote.Assignment)
    os.close(hello_file)
    work(hello, assignment)
