"""What can go wrong with a job, as typed errors that say what, which and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final

__all__ = [
    "AlreadyExists",
    "BadConfiguration",
    "BatchClosed",
    "BatchNotFound",
    "ClaimLost",
    "DependenciesNotFound",
    "EmptyFilter",
    "InvalidJob",
    "InvalidState",
    "JobNotFound",
    "KathikonError",
    "LeaseLost",
    "NoNode",
    "NodeNameTaken",
    "NodeSilent",
    "NodeStopping",
    "NodeUnclear",
    "OwnedElsewhere",
    "QueueFull",
    "QueuePaused",
    "QueueTimeout",
    "StoreUnavailable",
    "UniqueConflict",
    "UnknownNode",
    "UnknownOption",
    "UnknownQueue",
    "UnknownWorker",
    "WaitTimeout",
    "WorkflowCycle",
    "did_you_mean",
    "shown",
]


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Give ` Did you mean "x"?` for the nearest of `known`, or an empty string when none is near."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


def shown(value: object) -> str:
    """Give the `repr` of what somebody gave, for a sentence: cut when it is long, the type's name when it has none."""
    try:
        text = repr(value)
    except Exception:  # a whole number of over 4300 digits, a `__repr__` of the user's own
        return f"a value of type {type(value).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_LONGEST_SHOWN: Final = 300

_NOT_IMPORTED: Final = " Is its module imported, or named in App(workers=[...])?"

_MOST_LISTED: Final = 20


def _listed(known: Sequence[str]) -> str:
    """Give the names for a sentence: of many the first ones."""
    more = len(known) - _MOST_LISTED
    return ", ".join([*known[:_MOST_LISTED], *([f"{more} more"] if more > 0 else [])]) or "none"


def _rebuild(kind: type[KathikonError], args: tuple[object, ...], state: dict[str, object]) -> KathikonError:
    """Make an error again from its pickle, without its constructor, which takes data and not the sentence."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class KathikonError(Exception):
    """Base of every error of the job queue and the node. They can be pickled if their data can."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidJob(KathikonError, ValueError):
    """A job cannot be built from what was given; nothing was stored.

    Attributes:
        worker: the worker's name.
        field: which option or argument, as a path (`args.user.id`).
    """

    def __init__(self, worker: str, field: str, problem: str) -> None:
        self.worker = worker
        self.field = field
        self.problem = problem
        super().__init__(f"job for {worker}: {field} {problem}")


class UnknownOption(KathikonError, TypeError):
    """An option has a name that does not exist; nothing was stored."""

    def __init__(self, what: str, option: str, known: Sequence[str]) -> None:
        self.option = option
        self.known = tuple(known)
        super().__init__(f'{what} has no option "{option}" (known: {", ".join(known)}).{did_you_mean(option, known)}')


class UnknownQueue(KathikonError, LookupError):
    """No queue has this name; nothing was stored."""

    def __init__(self, queue: str, known: Iterable[str]) -> None:
        self.queue = queue
        self.known = tuple(sorted(known))
        super().__init__(f'no queue "{queue}" (known: {_listed(self.known)}).{did_you_mean(queue, self.known)}')


class UnknownWorker(KathikonError, LookupError):
    """No worker of the app has this name, or, from outside, of the apps on this store; nothing was stored.

    Args:
        worker: the name.
        known: those there are.
        otherwise: the next step when none of them is near; default: what to look at in the app.
    """

    def __init__(self, worker: str, known: Iterable[str], otherwise: str = _NOT_IMPORTED) -> None:
        self.worker = worker
        self.known = tuple(sorted(known))
        hint = did_you_mean(worker, self.known) or otherwise
        super().__init__(f'no worker "{worker}" (known: {_listed(self.known)}).{hint}')


class AlreadyExists(KathikonError):
    """A job with the given id is stored already; the stored row is unchanged."""

    def __init__(self, job_id: object) -> None:
        self.job_id = job_id
        super().__init__(f"a job with id {job_id} exists already; its row is unchanged")


class JobNotFound(KathikonError, LookupError):
    """No job has this id, or none that can be changed.

    Attributes:
        job_id: the id.
        archived: its job ended long ago: it can be read by its id, and nothing else.
    """

    def __init__(self, job_id: object, *, archived: bool = False) -> None:
        self.job_id = job_id
        self.archived = archived
        if archived:
            super().__init__(
                f"job {job_id} is archived and can only be read (get); insert a new job to do its work again"
            )
        else:
            super().__init__(f"no job with id {job_id}; list jobs to see the ids there are")


class DependenciesNotFound(KathikonError, LookupError):
    """Jobs that a new one is to wait for do not exist; it was not stored.

    Attributes:
        worker: of the new job.
        missing: the ids, as text.
    """

    def __init__(self, worker: str, missing: Sequence[str]) -> None:
        self.worker = worker
        self.missing = tuple(missing)
        super().__init__(
            f"job for {worker}: depends_on names jobs that do not exist: {', '.join(missing)}; "
            "insert them first, or give them in the same Workflow"
        )


class BatchNotFound(KathikonError, LookupError):
    """No batch has this id; nothing was stored."""

    def __init__(self, batch_id: object) -> None:
        self.batch_id = batch_id
        super().__init__(f"no batch with id {batch_id}; open one with open_batch, or list the batches there are")


class BatchClosed(KathikonError):
    """The batch is sealed and takes no more jobs; nothing was stored."""

    def __init__(self, batch_id: object) -> None:
        self.batch_id = batch_id
        super().__init__(f"batch {batch_id} is closed and takes no more jobs; append before its block ends")


class WorkflowCycle(KathikonError, ValueError):
    """Steps of a workflow wait for each other in a circle; nothing was stored.

    Attributes:
        members: the steps of the circle, each waiting for the next one, the last one for the first.
    """

    def __init__(self, members: Sequence[str]) -> None:
        self.members = tuple(members)
        circle = " -> ".join([*members, members[0]])
        super().__init__(f"workflow: these steps wait for each other: {circle}; take one of these dependencies out")


class InvalidState(KathikonError):
    """The job is in a state from which this change is not legal; row and history are untouched.

    Attributes:
        job_id: which job.
        old: the state it is in (`from`).
        new: the state that was asked for (`to`).
        action: what an operator asked for, if it was one.
    """

    def __init__(
        self,
        job_id: object,
        old: str,
        new: str,
        *,
        legal: Sequence[str] = (),
        action: str | None = None,
        problem: str | None = None,
    ) -> None:
        self.job_id = job_id
        self.old = old
        self.new = new
        self.action = action
        if problem is not None:
            super().__init__(f"job {job_id} is {old}: {problem}")
            return
        if action is not None:
            possible = f"possible: {', '.join(legal)}" if legal else "wait until it has ended"
            super().__init__(f"job {job_id} is {old}, {action} is not possible ({possible})")
            return
        after = f"legal after {old}: {', '.join(legal)}" if legal else f"{old} is final"
        super().__init__(f"job {job_id}: {old} -> {new} is not a legal change ({after})")


class UniqueConflict(KathikonError):
    """An ended job was to run again, and another job has its unique key meanwhile; nothing was changed.

    Attributes:
        job_id: the job that was to run again.
        holder: the job that has the key.
        action: `retry` or `rerun`.
    """

    def __init__(self, job_id: object, holder: object, action: str = "retry") -> None:
        self.job_id = job_id
        self.holder = holder
        self.action = action
        super().__init__(
            f"job {job_id}: {action} is not possible, job {holder} has its unique key; that one does the work, or "
            "cancel it (purge it, if it has ended) and ask again"
        )


class ClaimLost(KathikonError):
    """A job is not this runner's any more: its lease ran out, or an operator took it away; nothing was changed."""

    def __init__(self, job_id: object) -> None:
        self.job_id = job_id
        super().__init__(
            f"job {job_id} is not claimed here (any more): its lease ran out, it was changed by hand, or another "
            "client claimed it; stop working on it, and extend the lease in time"
        )


class EmptyFilter(KathikonError, ValueError):
    """A filter without any condition means every job there is; nothing was changed."""

    def __init__(self, call: str) -> None:
        self.call = call
        super().__init__(
            f"{call} without a condition means every job; give one (queue=...), or all=True if you mean it"
        )


class OwnedElsewhere(KathikonError):
    """A live node owns the job, so only that node can change it, and it has not answered in time.

    What was asked for is kept in the store: the node carries it out when it is back, or whoever takes its jobs over.

    Attributes:
        job_id: which job.
        node: the name of the node that owns it.
    """

    def __init__(self, job_id: object, node: str) -> None:
        self.job_id = job_id
        self.node = node
        super().__init__(
            f'job {job_id} belongs to the live node "{node}", which has not answered yet; '
            "it was told and does it when it can: look at the job again later"
        )


class QueueFull(KathikonError):
    """The queue holds as many jobs as its `max_depth` or its `max_in_memory` allows; nothing was stored."""

    def __init__(self, queue: str, depth: int, max_depth: int, *, what: str = "max_depth") -> None:
        self.queue = queue
        self.depth = depth
        self.max_depth = max_depth
        super().__init__(f'queue "{queue}" holds {depth} jobs, its {what} is {max_depth}; insert again later')


class QueuePaused(KathikonError):
    """The queue is paused, so nothing of it runs until it is resumed."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(f'queue "{queue}" is paused and runs nothing; resume it first')


class QueueTimeout(KathikonError, TimeoutError):
    """A queue was not drained or removed in the given time; it goes on."""

    def __init__(self, queue: str, aim: str, seconds: float, reason: str) -> None:
        self.queue = queue
        self.aim = aim
        self.seconds = seconds
        super().__init__(f'queue "{queue}" was not {aim} within {seconds:g} s: {reason}; call again to wait on')


class NoNode(KathikonError):
    """No live node is there to do it."""

    def __init__(self, queue: str | None) -> None:
        self.queue = queue
        what = "node lives on this store" if queue is None else f'live node runs queue "{queue}"'
        super().__init__(f"no {what}; start one: python -m kathikon_actors node APP")


class UnknownNode(KathikonError, LookupError):
    """No living node has this name.

    Attributes:
        node: the name that was given.
        living: names of those that live.
    """

    def __init__(self, node: str, living: Iterable[str], why: str | None = None) -> None:
        self.node = node
        self.living = tuple(sorted(living))
        what = f'no node "{node}" is known on this store' if why is None else f'node "{node}" does not live: {why}'
        super().__init__(f"{what} (living: {', '.join(self.living) or 'none'}).{did_you_mean(node, self.living)}")


class NodeUnclear(KathikonError, ValueError):
    """Several nodes live on the store, and none was named.

    Attributes:
        living: their names.
    """

    def __init__(self, call: str, living: Iterable[str]) -> None:
        self.call = call
        self.living = tuple(sorted(living))
        names = ", ".join(self.living)
        super().__init__(f'{call} asks one node, and several live here ({names}); name one: {call}("{self.living[0]}")')


class NodeSilent(KathikonError, TimeoutError):
    """A living node did not answer in time."""

    def __init__(self, node: str, seconds: float) -> None:
        self.node = node
        self.seconds = seconds
        super().__init__(
            f'node "{node}" did not answer within {seconds:g} s; it may be busy, stopped by a signal or cut off from '
            "the store: ask again, or look at nodes() for its lease"
        )


class WaitTimeout(KathikonError, TimeoutError):
    """A job did not end in the given time; it goes on."""

    def __init__(self, job_id: object, seconds: float, state: str) -> None:
        self.job_id = job_id
        self.seconds = seconds
        self.state = state
        super().__init__(f"job {job_id} did not end within {seconds:g} s (it is {state}); it goes on, wait again")


class StoreUnavailable(KathikonError):
    """The store did not answer in time; what was not acknowledged may or may not be stored."""


class LeaseLost(KathikonError):
    """This node's lease ended or its name was taken over: it can commit nothing more and must join again."""

    def __init__(self, node: str, epoch: int) -> None:
        self.node = node
        self.epoch = epoch
        super().__init__(f'node "{node}" lost its lease (epoch {epoch}); it stops its jobs and joins again')


class NodeNameTaken(KathikonError):
    """Another live node has this name."""

    def __init__(self, node: str, seconds: float) -> None:
        self.node = node
        self.seconds = seconds
        super().__init__(
            f'a node named "{node}" is alive on this store (its lease runs {seconds:.1f} s more); '
            "stop it, wait until its lease has run out, or choose another name"
        )


class NodeStopping(KathikonError):
    """The node is stopping and takes no more work; nothing was stored."""


class BadConfiguration(KathikonError, ValueError):
    """An app, a queue, a worker or a store URL is not declared right; nothing was started."""
