"""Liveness probes: ask a running child now and then whether it still works (Kubernetes' livenessProbe)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from supervisors._errors import InvalidSpec, SupervisionError
from supervisors._exits import fatal_leaf

if TYPE_CHECKING:
    from supervisors._life import Life

__all__ = ["Probe", "ProbeFailed", "keep_probing"]


class ProbeFailed(SupervisionError):
    """Crashes a child whose probe failed `failures` times in a row; the last error is the `__cause__`."""

    def __init__(self, failures: int) -> None:
        super().__init__(f"the probe failed {failures} times in a row")
        self.failures = failures


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask a child every `period` seconds whether it works; one that does not is crashed, and so restarted.

    Attributes:
        check: an async function that gets the child's started info. It says no by returning False, raising, or taking
            longer than `timeout`.
        period: seconds from one question to the next, and from the start to the first.
        timeout: seconds for an answer.
        failures: how many noes in a row are too many.

    Example:
        ChildSpec("server", serve, probe=Probe(answers_ping, period=10.0, timeout=1.0, failures=3))
    """

    check: Callable[[Any], Awaitable[object]]
    period: float = 10.0
    timeout: float = 1.0
    failures: int = 3

    def __post_init__(self) -> None:
        if not callable(self.check):
            raise InvalidSpec("check", self.check, "an async function of the started info")
        for name in ("period", "timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
                raise InvalidSpec(name, seconds, "finite seconds, more than 0")
        if not isinstance(self.failures, int) or self.failures < 1:
            raise InvalidSpec("failures", self.failures, "a whole number, 1 or more")


async def keep_probing(life: Life, probe: Probe) -> None:
    """Ask until the life ends, or crash it. Raises nothing: it runs beside the children."""
    with trio.CancelScope() as scope:
        life.when_dead(lambda _: scope.cancel())
        noes = 0
        while True:
            await trio.sleep(probe.period)
            error: BaseException | None = None
            try:
                with trio.fail_after(probe.timeout):
                    if await probe.check(life.info) is False:
                        error = ProbeFailed(1)
            except BaseException as exc:
                if scope.cancel_called:
                    raise
                error = exc
            if error is not None and fatal_leaf(error) is not None:
                life.inject(error)
                return
            noes = 0 if error is None else noes + 1
            if noes >= probe.failures and not life.stop_requested:
                failed = ProbeFailed(noes)
                failed.__cause__ = error
                life.inject(failed)
                return
