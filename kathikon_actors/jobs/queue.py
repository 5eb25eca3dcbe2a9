"""The declaration of a queue: plain data, checked when it is made."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass

from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["Queue"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Queue:
    """One queue of an app.

    Attributes:
        name: letters, digits, `_`, `.`, `-`; at most 63 characters.
        concurrency: jobs of this queue that run at the same time on one node, default 10.
        processes: worker processes for its plain functions and as many for its async ones, default 1. A plain
            function has a process to itself while it runs; async jobs share one, `concurrency / processes` each.
        max_in_memory: jobs of this queue that one node holds in memory, default 100,000, at least 10; the rest waits
            in the store and is claimed when its turn comes.

    Raises:
        BadConfiguration: naming the queue, the field and what is legal.

    Example:
        ```python
        Queue("billing", concurrency=50)
        Queue("pdf", processes=2)
        ```
    """

    name: str
    _: KW_ONLY
    concurrency: int = 10
    processes: int = 1
    max_in_memory: int = 100_000

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise BadConfiguration(
                f"queue {self.name!r}: a name is 1 to 63 letters, digits, '_', '.', '-', the first a letter or digit"
            )
        for field in ("concurrency", "processes"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
                raise BadConfiguration(f'queue "{self.name}": {field} is {value!r}; give a whole number from 1 to 1024')
        held = self.max_in_memory
        if isinstance(held, bool) or not isinstance(held, int) or held < 10:
            raise BadConfiguration(f'queue "{self.name}": max_in_memory is {held!r}; give a whole number from 10')
