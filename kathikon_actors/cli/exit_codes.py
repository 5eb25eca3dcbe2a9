"""What the command line exits with: one table from errors to codes."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """The exit codes; 69 and 78 are those of sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    WRONG_STATE = 4
    PARTLY_FAILED = 5
    UNAVAILABLE = 69
    """No node, or no database."""
    BAD_CONFIGURATION = 78
    INTERRUPTED = 130
    """Ctrl-C during a command that is no node: what shells give for SIGINT."""


def exit_code_of(error: BaseException) -> ExitCode:
    """Give the code of an error: that of the nearest class in the table, else `FAILED`."""
    table = _table()
    return next((table[kind] for kind in type(error).__mro__ if kind in table), ExitCode.FAILED)


def _table() -> dict[type, ExitCode]:
    # Imported here: only a command that failed pays for it.
    from kathikon_actors.jobs import errors
    from kathikon_actors.jobs.cron import CronExists, CronNotFound
    from kathikon_actors.store.binaries import PostgresNotFound
    from kathikon_actors.store.datadir import DirectoryInUse, ServerFailed

    return {
        errors.InvalidJob: ExitCode.USAGE,
        errors.UnknownOption: ExitCode.USAGE,
        errors.JobNotFound: ExitCode.NOT_FOUND,
        errors.UnknownQueue: ExitCode.NOT_FOUND,
        CronNotFound: ExitCode.NOT_FOUND,
        errors.BatchNotFound: ExitCode.NOT_FOUND,
        errors.UnknownWorker: ExitCode.NOT_FOUND,
        errors.AlreadyExists: ExitCode.WRONG_STATE,
        CronExists: ExitCode.WRONG_STATE,
        errors.InvalidState: ExitCode.WRONG_STATE,
        errors.UniqueConflict: ExitCode.WRONG_STATE,
        errors.NodeNameTaken: ExitCode.WRONG_STATE,
        errors.NodeStopping: ExitCode.WRONG_STATE,
        errors.QueueFull: ExitCode.WRONG_STATE,
        errors.NoNode: ExitCode.UNAVAILABLE,
        errors.UnknownNode: ExitCode.NOT_FOUND,
        errors.NodeUnclear: ExitCode.USAGE,
        errors.NodeSilent: ExitCode.UNAVAILABLE,
        errors.QueuePaused: ExitCode.WRONG_STATE,
        errors.ClaimLost: ExitCode.WRONG_STATE,
        errors.EmptyFilter: ExitCode.USAGE,
        errors.OwnedElsewhere: ExitCode.UNAVAILABLE,
        DirectoryInUse: ExitCode.WRONG_STATE,
        errors.StoreUnavailable: ExitCode.UNAVAILABLE,
        PostgresNotFound: ExitCode.UNAVAILABLE,
        ServerFailed: ExitCode.UNAVAILABLE,
        errors.BadConfiguration: ExitCode.BAD_CONFIGURATION,
        KeyboardInterrupt: ExitCode.INTERRUPTED,
    }
