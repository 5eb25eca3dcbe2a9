"""How long jobs are kept after they have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["Retention"]

DAY: Final = 86_400.0


@dataclass(frozen=True)
class Retention:
    """When completed, cancelled and discarded jobs are put away, and when they are deleted.

    Attributes:
        archive_after: seconds in that state after which a job moves to the archive table, default 14 days. It is still
            found by its id, but not listed or counted. `None`: never.
        delete_after: seconds in that state after which it is deleted from the archive, default 90 days; never before it
            was archived. `None`: never.

    Raises:
        BadConfiguration: naming the field and what is legal.

    Example:
        ```python
        app = App(queues=[Queue("billing")], retention=Retention(archive_after=7 * 86_400, delete_after=None))
        ```
    """

    archive_after: float | None = 14 * DAY
    delete_after: float | None = 90 * DAY

    def __post_init__(self) -> None:
        for name in ("archive_after", "delete_after"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 36_500 * DAY:
                raise BadConfiguration(f"Retention: {name} is {value!r}; give seconds from 0, or None for never")
        if self.archive_after is not None and self.delete_after is not None and self.delete_after < self.archive_after:
            raise BadConfiguration(
                f"Retention: delete_after is {self.delete_after:g} s, less than archive_after "
                f"({self.archive_after:g} s); give more, or None for never"
            )
