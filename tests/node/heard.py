"""What was told of jobs and batches, kept in order, to be compared with what the store says."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from kathikon_actors import Job, Node
from kathikon_actors.telemetry import BatchChanged, Event, JobsChanged, JobTransition

__all__ = ["Heard"]

Step = tuple[str, str | None, str | None]


class Heard:
    """Listens to a node from now on."""

    def __init__(self, node: Node) -> None:
        self.jobs: defaultdict[UUID, list[JobTransition]] = defaultdict(list)
        self.batches: defaultdict[UUID, list[BatchChanged]] = defaultdict(list)
        self.numbers: list[JobsChanged] = []
        self.subscription = node.subscribe(self._hear, JobTransition, JobsChanged, BatchChanged, buffer=100_000)

    def _hear(self, event: Event) -> None:
        match event:
            case JobTransition():
                self.jobs[event.job_id].append(event)
            case JobsChanged():
                self.numbers.append(event)
            case BatchChanged():
                self.batches[event.batch_id].append(event)

    def steps(self, job_id: UUID) -> list[Step]:
        """Give what was told of a job; being handed to a process that never began with it leaves no trace."""
        steps: list[Step] = []
        for event in list(self.jobs[job_id]):
            if event.event == "never began":
                assert steps.pop()[0] == "started"
            else:
                steps.append((event.event, event.old, event.new))
        return steps

    def says(self, job: Job) -> bool:
        """Whether what was told of a job is its history, each line once."""
        return self.steps(job.id) == [(line["event"], line["from"], line["to"]) for line in job.history]

    def states(self) -> dict[UUID, str | None]:
        """Give the state that each job is in, by what was told."""
        states: dict[UUID, str | None] = {}
        for job_id in list(self.jobs):
            state: str | None = None
            for event in list(self.jobs[job_id]):
                assert event.old == state, (job_id, [(e.event, e.old, e.new) for e in self.jobs[job_id]])
                state = event.new
            states[job_id] = state
        return states

    def actions(self, batch_id: UUID) -> list[str]:
        """Give what was told of a batch."""
        return [event.action for event in list(self.batches[batch_id])]
