"""Run a PostgreSQL program that dies with its owner, as an ordinary user even when the owner is root.

A script of its own: `python -I -S postmaster.py OWNER_PID UID GID MODE REACH... -- PROGRAM ARGUMENT...`. It gives up
root, asks the kernel for SIGINT (PostgreSQL's fast shutdown) when the owner's thread ends, and becomes the program.

MODE is `exec`, or `keep` where the kernel has no such request (everything but Linux): then the script stays, waits for
the end of its standard input, which only the owner holds open, and sends the SIGINT itself.

REACH are paths that the program must reach. PostgreSQL refuses to run as root, but an ordinary user may not reach a
directory below a 0700 one of root's (its home, a test's temporary directory). Instead of opening the parents to
everybody, the program keeps one capability, to search directories, as an ambient one (capabilities(7)).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

TYPE_CHECKING = False  # each import here is part of every start's time
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["EXIT_NO_USER", "EXIT_OWNER_GONE", "KILL", "main"]

EXIT_NO_USER = 77
"""Exit code: the program cannot run as its user, or that cannot reach a path; standard error says which and why."""

EXIT_OWNER_GONE = 76
"""Exit code: the owner had ended before the program could start."""

KILL = signal.SIGUSR1
"""What a launcher that stays takes for SIGKILL of the program."""

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT = 1, 8, 28, 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 4
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_SETPCAP = 1, 2, 8
_CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Become the program, or with MODE `keep` stay beside it until either ends."""
    owner, uid, gid, mode = int(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3]
    end = arguments.index("--")
    reach, command = arguments[4:end], arguments[end + 1 :]
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if os.geteuid() == 0:
        try:
            _drop_root(uid, gid, reach)
        except OSError as error:
            _refuse(f"cannot become user {uid}, as which it must run: {error}. Start it as an ordinary user instead.")
    if mode == "keep":
        _keep(command)
    # A change of credentials clears the request, so it comes after them.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != owner:
        sys.exit(EXIT_OWNER_GONE)
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


def _keep(command: list[str]) -> None:
    import threading

    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execv(command[0], command)  # noqa: S606  no shell is wanted

    def forward(number: int, _frame: FrameType | None = None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if number == KILL else number)

    def watch_owner() -> None:
        while os.read(0, 1):
            pass
        forward(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, KILL):
        signal.signal(number, forward)
    threading.Thread(target=watch_owner, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _drop_root(uid: int, gid: int, reach: list[str]) -> None:
    linux = sys.platform == "linux"
    if linux:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    blocked = _first_unreachable(reach)
    if linux and blocked is None:
        _set_capabilities(0, 0, 0)
    elif linux:
        blocked = _keep_search_capability(reach)
    if blocked is not None:
        _refuse(
            f"user {uid} cannot reach {blocked}, and the capability to search directories is not available here. "
            f"Give others the right to pass it (chmod o+x {blocked}) or use another directory."
        )


def _refuse(problem: str) -> NoReturn:
    print(problem, file=sys.stderr)
    sys.exit(EXIT_NO_USER)


def _keep_search_capability(reach: list[str]) -> str | None:
    """Keep the weakest capability that reaches the paths; give the first directory that stays out of reach, if any."""
    # PostgreSQL asks access(2) about its own files, which ignores capabilities unless this bit is set. Where it cannot
    # be set, the check below decides: the bit only matters for the directory of the programs.
    with contextlib.suppress(OSError):
        _set_capabilities(1 << _CAP_SETPCAP, None, 0)
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << capability
        try:
            _set_capabilities(bit, None, bit)
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
        except OSError:
            continue
        if _first_unreachable(reach) is None:
            _set_capabilities(bit, bit, bit)
            return None
    return _first_unreachable(reach)


def _first_unreachable(paths: list[str]) -> str | None:
    for path in paths:
        parts = os.path.realpath(path).split(os.sep)  # noqa: PTH206  pathlib would double the launcher's time
        for length in range(1, len(parts) + 1):
            directory = os.sep.join(parts[:length]) or os.sep  # noqa: PTH118
            if not os.access(directory, os.X_OK):
                return directory
    return None


def _prctl(option: int, *values: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _set_capabilities(effective: int, permitted: int | None, inheritable: int) -> None:
    """capset(2) for this process; `permitted` None leaves the permitted set as it is."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), f"capget: {os.strerror(ctypes.get_errno())}")
    kept = data[1] | data[4] << 32 if permitted is None else permitted
    for word in (0, 1):
        data[3 * word : 3 * word + 3] = [value >> 32 * word & 0xFFFFFFFF for value in (effective, kept, inheritable)]
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
