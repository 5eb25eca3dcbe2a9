"""What may be called with events. A worker process imports it with the app, so it does without trio."""

from __future__ import annotations

import inspect

from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["check_handler"]


def check_handler(where: str, handler: object) -> None:
    """Refuse what cannot be called with an event in a thread.

    Raises:
        BadConfiguration: naming it.
    """
    if not callable(handler):
        raise BadConfiguration(f"{where}: {handler!r} is no handler; give a function of one event")
    # Of an object the method that is called with it.
    if any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__))):
        raise BadConfiguration(
            f"{where}: {handler!r} is async, and a handler is called in a thread; give a plain function, or read "
            "node.events() with async for"
        )
