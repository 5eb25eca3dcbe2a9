"""A run of an encrypted job: opened before the worker sees it, sealed before the node hears of it."""

from __future__ import annotations

import msgspec

from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealed_record import open_record, seal_report_parts
from kathikon_actors.jobs.sealing import CannotOpen, bound_id
from kathikon_actors.processes.execution import Executable
from kathikon_actors.processes.messages import Report

__all__ = ["open_for", "report_unopened", "seal_report"]


def open_for(executable: Executable, record: Record) -> Record:
    """Give the job in plain.

    Raises:
        CannotOpen: the key is missing, or it is not what was sealed for this job.
    """
    return open_record(record, executable.keyring)


def report_unopened(seq: int, error: CannotOpen) -> Report:
    """Report a job that was not run because it cannot be opened: a failed attempt, as a key may come later."""
    return Report(seq, "failed", 0.0, kind="encryption", message=str(error))


def seal_report(report: Report, record: Record, executable: Executable) -> Report:
    """Give the report with what the job's code said sealed."""
    keyring = executable.keyring
    if keyring is None:  # it was not opened, and did not run
        return report
    result, message, traceback = seal_report_parts(
        keyring, bound_id(record), report.result, report.message, report.traceback
    )
    sealed: Report = msgspec.structs.replace(report, result=result, message=message, traceback=traceback)
    return sealed
