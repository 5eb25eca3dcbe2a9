"""`check APP`: what an app declares, and what is wrong with it. Nothing is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.app_loading import load_app
from kathikon_actors.cli.exit_codes import ExitCode
from kathikon_actors.cli.session import Session, common_options

if TYPE_CHECKING:
    from kathikon_actors.jobs.worker import WorkerDefinition
    from kathikon_actors.node.app import App

__all__ = ["check"]


@click.command()
@click.argument("app")
@common_options
@click.pass_obj
def check(session: Session, app: str) -> int:
    """Check an app's declaration; APP is MODULE:ATTRIBUTE. Starts nothing."""
    loaded = load_app(app)
    session.url  # noqa: B018 raises when the URL is wrong
    workers, problems = _workers(loaded)
    problems += [*_crons(loaded, workers), *_children(loaded)]
    warnings = _warnings(loaded, workers)
    output = session.output
    if output.json:
        output.data(
            {
                "app": app,
                "ok": not problems,
                "queues": [_queue(loaded, name, workers) for name in loaded.queues],
                "workers": [_worker(loaded, definition) for definition in workers],
                "problems": problems,
                "warnings": warnings,
            }
        )
    else:
        queues = [_queue(loaded, name, workers) for name in loaded.queues]
        output.table(
            ("queue", "concurrency", "processes", "workers"),
            [(q["name"], q["concurrency"], q["processes"], ", ".join(q["workers"])) for q in queues],
        )
    for text in warnings:
        output.say(f"warning: {text}")
    for text in problems:
        output.say(f"error: {text}")
    if problems:
        return ExitCode.BAD_CONFIGURATION
    output.say(f"{app} is fine: {_count(len(loaded.queues), 'queue')}, {_count(len(workers), 'worker')}")
    return ExitCode.OK


def _workers(app: App) -> tuple[list[WorkerDefinition], list[str]]:
    from kathikon_actors.jobs.errors import BadConfiguration
    from kathikon_actors.processes.refs import refer_to

    try:
        workers = list(app.definitions().values())
    except BadConfiguration as error:
        return [], [str(error)]
    problems = []
    for definition in workers:
        try:
            refer_to(definition)
        except BadConfiguration as error:
            problems.append(str(error))
    return workers, problems


def _crons(app: App, workers: list[WorkerDefinition]) -> list[str]:
    """Build the job of each cron entry, as a node does when it starts."""
    from kathikon_actors.jobs.build import build_record
    from kathikon_actors.jobs.errors import BadConfiguration
    from kathikon_actors.jobs.ids import IdSource
    from kathikon_actors.node.crons import declared_rows

    if not workers:
        return []  # why there are none is a problem already
    definitions = {definition.name: definition for definition in workers}
    ids = IdSource()
    problems = []
    for cron in app.crons.values():
        try:
            declared_rows(
                [cron],
                definitions,
                lambda new: build_record(new, definitions[new.worker], app.defaults, ids, 0),
                app.keyring,
            )
        except BadConfiguration as error:
            problems.append(str(error))
    return problems


def _children(app: App) -> list[str]:
    from supervisors import SupervisionError, supervisor_spec

    try:
        supervisor_spec("children", list(app.children))
    except SupervisionError as error:
        return [f"children of the app: {error}"]
    return []


def _warnings(app: App, workers: list[WorkerDefinition]) -> list[str]:
    from kathikon_actors.jobs.errors import UnknownQueue
    from kathikon_actors.jobs.worker import registered

    chosen = {definition.name for definition in workers}
    warnings = [
        f"worker {definition.name} of {definition.module} is left out: {UnknownQueue(definition.queue, app.queues)}"
        for definition in registered()
        if workers and definition.name not in chosen and definition.queue and definition.queue not in app.queues
    ]
    used = {definition.queue or app.defaults.queue for definition in workers}
    warnings += [f'no worker names queue "{name}"' for name in app.queues if workers and name not in used]
    return warnings


def _queue(app: App, name: str, workers: list[WorkerDefinition]) -> dict[str, Any]:
    queue = app.queues[name]
    return {
        "name": name,
        "concurrency": queue.concurrency,
        "processes": queue.processes,
        "isolation": queue.isolation,
        "max_jobs_per_process": queue.max_jobs_per_process,
        "max_memory": queue.memory_limit,
        "default": name == app.defaults.queue,
        "workers": [definition.name for definition in workers if (definition.queue or app.defaults.queue) == name],
    }


def _worker(app: App, definition: WorkerDefinition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "at": f"{definition.module}:{definition.qualname}",
        "queue": definition.queue or app.defaults.queue,
        "kind": "async" if definition.is_async else "plain",
        "arguments": str(definition.signature),
        "priority": definition.priority,
        "max_attempts": definition.max_attempts or app.defaults.max_attempts,
        "timeout": definition.timeout or app.defaults.timeout,
        "tags": list(definition.tags),
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
