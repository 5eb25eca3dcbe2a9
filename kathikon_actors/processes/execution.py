"""One run of one job, as far as both worker loops share it: binding, the verdict, the report."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from kathikon_actors.jobs import json
from kathikon_actors.jobs.backoff import BackoffFunction, usable_delay
from kathikon_actors.jobs.middleware import Chain, Middleware
from kathikon_actors.jobs.outcomes import Cancel, Discard, Fail, Outcome, Retry, Snooze
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.sealing import Keyring
from kathikon_actors.jobs.worker import WorkerDefinition
from kathikon_actors.processes.messages import Report, Why

__all__ = ["Executable", "Executables", "report_error", "report_interrupted", "report_value"]

log = logging.getLogger("kathikon_actors.worker")

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 16_000
MAX_RESULT = 32 * 1024 * 1024
LONGEST_DELAY = 100 * 365.25 * 86_400.0
"""Seconds that a job can ask for itself, in `Snooze` and in `Retry`."""

_OUR_FILES = frozenset({__file__, inspect.getfile(Chain)})


class Executable:
    """A worker definition, prepared to be called.

    Attributes:
        call: takes the job first when `takes_job`, then the arguments by name.
        keyring: opens and seals the jobs that are encrypted.
        awaits: whether `call` gives a coroutine.
        is_plain: whether it is a plain function, awaited or not: middleware makes it one that gives a coroutine.
        last_ns: how long the last run took; the plain loop sends waiting reports before a run that may be long.
    """

    __slots__ = ("awaits", "call", "definition", "is_plain", "keyring", "last_ns", "takes_job")

    def __init__(self, definition: WorkerDefinition, middleware: tuple[Middleware, ...] = ()) -> None:
        self.definition = definition
        self.takes_job = definition.takes_job
        self.awaits = definition.is_async
        self.is_plain = not definition.is_async
        self.keyring: Keyring | None = None
        self.last_ns = 2**62
        self.call: Callable[..., Any] = definition.target
        if definition.owner is not None:
            self.call = _performer(definition.owner, free_form=definition.free_form)
        chain = (*middleware, *definition.middleware)
        if chain:
            self.call = Chain(chain, self.call, takes_job=self.takes_job)
            self.takes_job = self.awaits = True


def _performer(owner: type[Any], *, free_form: bool) -> Callable[..., Any]:
    def perform(*args: Any, **kwargs: Any) -> Any:
        return owner().perform(*args, **kwargs)

    def perform_free_form(job: Job, /, **_in_the_job: Any) -> Any:
        return owner().perform(job)

    return perform_free_form if free_form else perform


def _mourner(definition: WorkerDefinition) -> Executable:
    """Prepare `on_discard`: it takes the job alone."""
    on_discard = definition.on_discard
    assert on_discard is not None

    def mourn(job: Job, /, **_in_the_job: Any) -> object:
        return on_discard(job)

    mourner = Executable(definition)
    mourner.call, mourner.takes_job, mourner.awaits = mourn, True, definition.mourns_async
    mourner.is_plain = not definition.mourns_async
    return mourner


class Executables:
    """Every worker this process knows, by name, and why it does not know the others."""

    def __init__(
        self,
        definitions: dict[str, WorkerDefinition],
        failed: dict[str, str],
        middleware: tuple[Middleware, ...] = (),
        keyring: Keyring | None = None,
    ) -> None:
        self.by_name = {name: Executable(definition, middleware) for name, definition in definitions.items()}
        self.mourners = {name: _mourner(d) for name, d in definitions.items() if d.on_discard is not None}
        for executable in (*self.by_name.values(), *self.mourners.values()):
            executable.keyring = keyring
        self._failed = failed

    def report_unknown(self, seq: int, record: Record) -> Report:
        """Report that the job's worker is not known here: a failed attempt, as code may be deployed later."""
        trace = self._failed.get(record.worker)
        if trace is None:
            known = ", ".join(sorted({*self.by_name, *self._failed})) or "none"
            message = f'no worker "{record.worker}" in this process (known: {known})'
            return Report(seq, "failed", 0.0, kind="unknown_worker", message=message)
        message = f'worker "{record.worker}" could not be imported: {trace.rstrip().rsplit(chr(10), 1)[-1]}'
        return Report(seq, "failed", 0.0, kind="unknown_worker", message=_cut(message), traceback=_cut_trace(trace))


def bind(record: Record) -> dict[str, Any] | None:
    """Decode the arguments; `None` when they are not a JSON object."""
    try:
        args = json.decode(record.args)
    except ValueError:
        return None
    return args if type(args) is dict else None


def report_bad_args(seq: int, record: Record, problem: str | None = None) -> Report:
    """Report arguments that cannot be read, or do not fit the worker's signature (any more)."""
    if problem is None:
        problem = _unreadable(record)
    return Report(seq, "failed", 0.0, kind="arguments", message=_cut(f"{record.worker}: {problem}"))


def _unreadable(record: Record) -> str:
    """Say why `bind` gave nothing."""
    try:
        json.decode(record.args)
    except ValueError as error:
        return f"the arguments cannot be read: {error}"
    return "the arguments are not a JSON object"


def report_interrupted(seq: int, seconds: float, why: Why) -> Report:
    """Report a run that gave way when the node asked."""
    return Report(seq, "interrupted", seconds, kind=why)


def report_value(
    seq: int, seconds: float, record: Record, executable: Executable, value: object, *, sealed: bool = False
) -> Report:
    """Report what `perform` returned: a result, or an outcome. Of a `sealed` job's value nothing is noted in plain."""
    if value is None:
        return Report(seq, "completed", seconds, b"null")
    if issubclass(type(value), Outcome):  # isinstance would ask the value, whose answer may raise
        return _report_outcome(seq, seconds, record, executable, cast(Outcome, value))
    try:
        raw = json.encode_strict(value, "result")
        if len(raw) <= MAX_RESULT:
            return Report(seq, "completed", seconds, raw)
        note = f"result has {len(raw)} bytes; {MAX_RESULT} are kept at most"
    except Exception as error:  # a value's own methods may raise; the job did its work all the same
        if sealed:
            note = f"result cannot be kept as JSON ({name_of(error)}); why is not told, as the job is encrypted"
        else:
            note = _cut(
                text_of(error) if isinstance(error, json.NotJson) else f"result: {name_of(error)}: {text_of(error)}"
            )
    log.warning("job %s of %s completed, but its result is not kept: %s", record.id.hex(), record.worker, note)
    return Report(seq, "completed", seconds, b"null", note)


def report_error(seq: int, seconds: float, record: Record, executable: Executable, error: BaseException) -> Report:
    """Report what `perform` raised: an outcome, or a failure."""
    try:
        return _report_error(seq, seconds, record, executable, error)
    except BaseException as raised:  # to look at it runs the user's code: __getattribute__, __class__
        message = f"{name_of(error)}: <looking at it raised {type(raised).__name__}>"
        return Report(seq, "failed", seconds, kind="exception", message=_cut(message))


def _report_error(seq: int, seconds: float, record: Record, executable: Executable, error: BaseException) -> Report:
    outcome = _outcome_in(error)
    if outcome is not None:
        return _report_outcome(seq, seconds, record, executable, outcome)
    if type(error) is TypeError and (problem := _misfit(record, executable, error)):
        return report_bad_args(seq, record, problem)
    cause = _alone(error)
    ruling = executable.definition.rules.rule(cause)
    discarded = ruling.verdict == "discard"
    return Report(
        seq,
        "discarded" if discarded else "failed",
        seconds,
        kind="exit" if isinstance(error, SystemExit) else "exception",
        message=_cut(f"{name_of(error)}: {text_of(error)}"),
        traceback=_trace_of(error),
        delay=None if discarded else _own_backoff(record, executable, cause, ruling.backoff),
    )


def _report_outcome(seq: int, seconds: float, record: Record, executable: Executable, outcome: Outcome) -> Report:
    match outcome:
        case Snooze():
            delay = _seconds(outcome.seconds)
            if delay:
                return Report(seq, "snoozed", seconds, delay=delay)
            message = f"Snooze({_repr(outcome.seconds)}): give a number of seconds above 0, at most 100 years"
            delay = _own_backoff(record, executable, outcome)
            return Report(seq, "failed", seconds, kind="invalid_snooze", message=_cut(message), delay=delay)
        case Retry():
            delay = None if outcome.delay is None else _seconds(outcome.delay)
            if delay is None:
                if outcome.delay is not None:
                    log.warning(
                        "job %s: Retry's delay %s is of no use", record.id.hex(), _quoted(executable, outcome.delay)
                    )
                delay = _own_backoff(record, executable, outcome)
            return Report(seq, "failed", seconds, kind="retry", message=_reason(outcome.reason), delay=delay)
        case Discard():
            return Report(seq, "discarded", seconds, kind="discard", message=_reason(outcome.reason))
        case Cancel():
            return Report(seq, "cancelled", seconds, kind="cancel", message=_reason(outcome.reason))
        case Fail():
            message, delay = _reason(outcome.reason), _own_backoff(record, executable, outcome)
            return Report(seq, "failed", seconds, kind="fail", message=message, delay=delay)
        case _:
            message = f"{name_of(outcome)} is no outcome; use Snooze, Fail, Retry, Discard or Cancel"
            return Report(seq, "failed", seconds, kind="exception", message=message)


def _outcome_in(error: BaseException) -> Outcome | None:
    """Find an outcome that was raised, also when nurseries wrapped it in groups of one."""
    error = _alone(error)
    return error if isinstance(error, Outcome) else None


def _alone(error: BaseException) -> BaseException:
    """Give what groups of one hold."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _misfit(record: Record, executable: Executable, error: TypeError) -> str | None:
    """Say how the arguments miss the signature, when that is why the call itself raised."""
    if _own_frames(error.__traceback__) is not None:
        return None
    args = bind(record)
    try:
        executable.definition.signature.bind(**(args or {}))
    except TypeError as mismatch:
        return str(mismatch)
    return None


def _own_backoff(
    record: Record, executable: Executable, error: BaseException, backoff: BackoffFunction | None = None
) -> float | None:
    """Ask `backoff` or the worker's own; `None`, the default, when there is none or it is of no use."""
    backoff = backoff or executable.definition.backoff
    if backoff is None:
        return None
    try:
        delay = backoff(max(record.attempt, 1), error)
        usable = usable_delay(delay)
        problem = f"gave {_quoted(executable, delay)}"
    except BaseException as raised:  # sys.exit in a backoff must not end the process either
        usable = None
        problem = f"raised {name_of(raised)}{'' if executable.keyring else f': {text_of(raised)}'}"
    if usable is None:
        log.warning("backoff of %s %s; job %s takes the default", record.worker, _cut(problem), record.id.hex())
    return usable


def _quoted(executable: Executable, value: object) -> str:
    """Give a value for the log, which is no place for what a job of an app that encrypts may hold: only its type."""
    return _repr(value) if executable.keyring is None else f"a {type(value).__name__}"


def _seconds(value: object) -> float | None:
    """Give a delay that the job itself asks for, from 0; `None` when it is of no use."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if 0.0 <= seconds <= LONGEST_DELAY else None


def _reason(reason: object) -> str:
    if isinstance(reason, str):
        return _cut(reason)
    if isinstance(reason, BaseException):
        return _cut(f"{name_of(reason)}: {text_of(reason)}")
    return _repr(reason)


def name_of(error: BaseException) -> str:
    """Give the type's name as people write it: `ValueError`, `shop.NoSuchInvoice`."""
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def text_of(error: BaseException) -> str:
    """Give `str(error)`, or a word about why there is none."""
    try:
        return _valid(str(error))
    except BaseException as raised:  # __str__ is the user's code
        return f"<its __str__ raised {type(raised).__name__}>"


def _repr(value: object) -> str:
    try:
        return _cut(repr(value))
    except BaseException as raised:  # __repr__ is the user's code
        return f"<{type(value).__name__}, whose __repr__ raised {type(raised).__name__}>"


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames of the worker loop: what is left is the user's."""
    while trace is not None and trace.tb_frame.f_code.co_filename in _OUR_FILES:
        trace = trace.tb_next
    return trace


def add_own_file(path: str) -> None:
    """Leave the frames of this file out of the tracebacks that users read."""
    global _OUR_FILES
    _OUR_FILES |= {path}


def _trace_of(error: BaseException) -> str | None:
    try:
        parts = traceback.TracebackException(type(error), error, _own_frames(error.__traceback__), compact=True)
        return _cut_trace("".join(parts.format()))
    except BaseException as raised:  # the user's __str__, __repr__ or __getattr__ is called on the way
        return f"<no traceback: formatting it raised {type(raised).__name__}>"


def _valid(text: str) -> str:
    """Give text that UTF-8 and Postgres can hold."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _cut(text: str) -> str:
    text = _valid(text)
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 20]}... ({len(text)} characters)"


def _cut_trace(text: str) -> str:
    """Keep both ends of a long traceback: where it began, and what was raised."""
    text = _valid(text)
    half = MAX_TRACEBACK // 2
    return text if len(text) <= MAX_TRACEBACK else f"{text[:half]}\n...\n{text[-half:]}"
