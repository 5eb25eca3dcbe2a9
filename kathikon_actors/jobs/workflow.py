"""A workflow: named steps that wait for each other, inserted all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, WorkflowCycle, did_you_mean, shown
from kathikon_actors.jobs.new_job import NewJob

if TYPE_CHECKING:
    from kathikon_actors.jobs.extra import OnFailure

__all__ = ["Workflow"]


class Workflow:
    """Named steps of a directed acyclic graph.

    Example:
        ```python
        flow = Workflow()
        flow.add("extract", extract.new("2026-11-01"))
        flow.add("clean", clean.new(), after="extract")
        flow.add("report", report.new(), after=["extract", "clean"])
        jobs = await node.workflow(flow)
        done = await node.wait(jobs["report"].id, timeout=90)
        ```
    """

    def __init__(self) -> None:
        self._steps: dict[str, tuple[NewJob, tuple[str, ...]]] = {}

    def add(
        self,
        name: str,
        job: NewJob,
        *,
        after: str | Iterable[str] = (),
        on_dependency_failure: OnFailure | None = None,
    ) -> Workflow:
        """Add a step; give the workflow.

        Args:
            name: of the step.
            job: `worker.new(...)`, with whatever options.
            after: names of the steps it waits for; they may be added later.
            on_dependency_failure: `"discard"` cancels it when one of them fails, `"run"` runs it all the same.

        Raises:
            BadConfiguration: there is a step of this name, or it is no name.
            InvalidJob: `job` is none.
        """
        if not isinstance(name, str) or not name:
            raise BadConfiguration(f"workflow: a step's name is {shown(name)}; give a non-empty string")
        if name in self._steps:
            raise BadConfiguration(f'workflow: there is a step "{name}" already; give each its own name')
        if not isinstance(job, NewJob):
            raise InvalidJob(repr(job)[:80], "job", "is not a job; give worker.new(...)")
        if on_dependency_failure is not None:
            job = job.options(on_dependency_failure=on_dependency_failure)
        names = (after,) if isinstance(after, str) else tuple(after) if isinstance(after, Iterable) else None
        if names is None or not all(isinstance(parent, str) for parent in names):
            raise BadConfiguration(f'workflow: step "{name}" is after {shown(after)}; give names of steps')
        self._steps[name] = job, names
        return self

    def __len__(self) -> int:
        return len(self._steps)

    def in_order(self) -> list[tuple[str, NewJob, tuple[str, ...]]]:
        """Give name, job and what it waits for, each step behind all that it waits for.

        Raises:
            BadConfiguration: a step waits for one that does not exist; it names the nearest.
            WorkflowCycle: steps wait for each other; it names them.
        """
        steps = self._steps
        waiting: dict[str, int] = {}
        followers: dict[str, list[str]] = {}
        for name, (_, after) in steps.items():
            before = dict.fromkeys(after)
            for parent in before:
                if parent not in steps:
                    raise BadConfiguration(
                        f'workflow: step "{name}" waits for "{parent}", which is no step.{did_you_mean(parent, steps)}'
                    )
                followers.setdefault(parent, []).append(name)
            waiting[name] = len(before)
        ready = [name for name, number in waiting.items() if not number]
        ordered = []
        for name in ready:  # grows while it is walked
            ordered.append(name)
            for follower in followers.get(name, ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
        if len(ordered) < len(steps):
            raise WorkflowCycle(_circle({name: steps[name][1] for name, number in waiting.items() if number}))
        return [(name, steps[name][0], tuple(dict.fromkeys(steps[name][1]))) for name in ordered]


def _circle(steps: dict[str, tuple[str, ...]]) -> list[str]:
    """Give one circle among steps of which each waits for another of them."""
    path: dict[str, int] = {}
    name = next(iter(steps))
    while name not in path:
        path[name] = len(path)
        name = next(parent for parent in steps[name] if parent in steps)
    return list(path)[path[name] :]
