"""Errors carry data, say what happened, and travel between processes."""

from __future__ import annotations

import pickle

import pytest

import supervisors
from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    Crash,
    DuplicateChild,
    Exit,
    FailedToStart,
    InvalidSpec,
    Killed,
    MaxChildrenReached,
    NoPartitions,
    NotOwner,
    NotStarted,
    NotUnique,
    ProbeFailed,
    RestartLimitReached,
    Shutdown,
    StartCancelled,
    StartTimeout,
    StopTimeout,
    StrayCancelled,
    SupervisionError,
    SupervisorStopped,
    TaskError,
    TaskExited,
    TaskTimeout,
    UnkillableChild,
)

ERRORS = [
    (AlreadyPresent("a"), "child 'a' is present but not running: restart_child or delete_child it"),
    (AlreadyStarted("a", 7), "child 'a' is running already"),
    (ChildNotFound("a"), "no child 'a'"),
    (ChildRestarting("a"), "child 'a' is being restarted: terminate_child cancels that"),
    (ChildRunning("a"), "child 'a' is running: terminate_child it first"),
    (DuplicateChild("a"), "id='a' is not legal: ids are unique inside one supervisor"),
    (FailedToStart("a", Shutdown("no")), "child 'a' failed to start: shutdown: no"),
    (InvalidSpec("f", 1, "2 or 3"), "f=1 is not legal: 2 or 3"),
    (MaxChildrenReached(3), "all 3 places are taken"),
    (NoPartitions(), "there are no partitions: resize to 1 or more"),
    (NotOwner("k"), "key 'k' is not held by the caller"),
    (NotStarted(5), "returned 5 before calling task_status.started()"),
    (NotUnique("whereis"), 'whereis needs a Registry(keys="unique")'),
    (ProbeFailed(3), "the probe failed 3 times in a row"),
    (RestartLimitReached("s", "a", Killed()), "s gave up: child 'a' was restarted too often (last exit: killed)"),
    (StartCancelled(), "the start was cancelled"),
    (StartTimeout(2.0), "did not start within 2.0 s"),
    (StopTimeout("s", 1.0), "supervisor s has not stopped within 1.0 s"),
    (StrayCancelled(), "ended with a Cancelled that nobody asked for"),
    (SupervisorStopped("s", Shutdown()), "supervisor s has stopped: shutdown"),
    (TaskError("x"), "x"),
    (TaskExited(Killed()), "the task ended: killed"),
    (TaskTimeout(1.0), "the task took longer than 1.0 s"),
    (UnkillableChild("a"), "child 'a' ignores its cancellation and lives on"),
    (Exit(Shutdown("why")), "shutdown: why"),
]


@pytest.mark.parametrize(("error", "sentence"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_say_what_happened_and_travel_with_their_data(error: Exception, sentence: str) -> None:
    """A pickled error has the same type, sentence, data and notes."""
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), sentence, vars(error))
    assert isinstance(error, (SupervisionError, Exit))


def test_errors_nested_in_reasons_travel_too() -> None:
    """A crash within a failed start within a crash."""
    error = FailedToStart("outer", Crash(FailedToStart("inner", Crash(OSError("disk")))))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert isinstance(copy.reason.exception.reason.exception, OSError)


def test_errors_and_all_public_names_exist_and_have_a_docstring() -> None:
    """What `__all__` lists can be imported and is described."""
    undocumented = [
        name
        for name in supervisors.__all__
        if callable(getattr(supervisors, name)) and not (getattr(supervisors, name).__doc__ or "").strip()
    ]
    assert undocumented == []
