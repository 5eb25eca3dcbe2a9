"""What a worker declares of its jobs, as data that travels.

Nodes keep it in the store. Whoever inserts a job by its worker's name there, with the code elsewhere, makes it as the
node itself would. What is code (a backoff, middleware, limits) stays with the nodes, which have it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kathikon_actors.jobs.durability import Durability
from kathikon_actors.jobs.parameters import Parameters
from kathikon_actors.jobs.sealed_record import Encrypt
from kathikon_actors.jobs.unique import Unique

if TYPE_CHECKING:
    from kathikon_actors.jobs.build import Defaults
    from kathikon_actors.jobs.definition import WorkerDefinition

__all__ = ["LONGEST", "MOST", "Declaration", "declarations_of"]

logger = logging.getLogger(__name__)

MOST: Final = 10_000
"""Workers of one app whose declarations are kept."""

LONGEST: Final = 16_384
"""Bytes of one declaration, as JSON."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker as it is known without its code; what it leaves open is as its app says.

    Attributes:
        name: what jobs call it.
        queue: of its jobs.
        max_attempts: failed attempts until a job is discarded.
        seconds: of one attempt; `None` for no end.
        priority: higher first.
        tags: of its jobs.
        durability: when they are written.
        unique: which of them count as the same.
        encrypt: whether they are encrypted; `True` also when only the app says so, by having keys.
        parameters: what their arguments are called.

    Example:
        ```python
        charge = Declaration(name="charge", queue="billing", max_attempts=5, seconds=60)
        ```
    """

    name: str
    queue: str
    max_attempts: int
    seconds: float | None = msgspec.field(default=None, name="timeout")
    priority: int = 0
    tags: tuple[str, ...] = ()
    durability: Durability = "commit"
    unique: Unique | None = None
    encrypt: Encrypt = None
    parameters: Parameters = Parameters()

    @property
    def timeout(self) -> float:
        """Seconds per attempt."""
        return math.inf if self.seconds is None else self.seconds

    def check(self, args: Mapping[str, Any]) -> None:
        """Refuse arguments that the worker does not take.

        Raises:
            TypeError: naming the worker and what is wrong or missing.
        """
        problem = self.parameters.problem(args)
        if problem is not None:
            raise TypeError(f"{self.name}{self.parameters}: {problem}")

    def encode(self) -> bytes:
        """Give it as JSON."""
        return _encode(self)

    @classmethod
    def decode(cls, text: bytes | str) -> Declaration:
        """Give it again.

        Raises:
            ValueError: this is none.
        """
        return _decoder.decode(text)


_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Declaration)


def declarations_of(definitions: Iterable[WorkerDefinition], defaults: Defaults) -> list[Declaration]:
    """Give what the workers of an app declare; one that is too long to be kept is left out, with a warning.

    Args:
        definitions: of the app's workers.
        defaults: what the app says where a worker does not.
    """
    found: list[Declaration] = []
    for definition in definitions:
        declaration = _declaration_of(definition, defaults)
        try:
            size = len(declaration.encode())
        except ValueError as error:  # text that UTF-8 cannot hold
            logger.warning("worker %s cannot be inserted by name from outside: %s", definition.name, error)
            continue
        if size > LONGEST or len(found) >= MOST:
            what = f"its declaration has {size} bytes" if size > LONGEST else f"the app has over {MOST} workers"
            logger.warning("worker %s cannot be inserted by name from outside: %s", definition.name, what)
            continue
        found.append(declaration)
    return found


def _declaration_of(definition: WorkerDefinition, defaults: Defaults) -> Declaration:
    seconds = float(definition.timeout or defaults.timeout)
    encrypt = definition.encrypt
    if encrypt is None and defaults.keyring is not None:
        encrypt = True
    return Declaration(
        name=definition.name,
        queue=definition.queue or defaults.queue,
        max_attempts=definition.max_attempts or defaults.max_attempts,
        seconds=None if math.isinf(seconds) else seconds,
        priority=definition.priority,
        tags=definition.tags,
        durability=definition.durability or defaults.durability,
        unique=definition.unique,
        encrypt=encrypt,
        parameters=definition.parameters,
    )
