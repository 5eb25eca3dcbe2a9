"""What workers declare of their jobs, kept where programs without their code can read it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from kathikon_actors.jobs.declaration import MOST, Declaration
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["KEPT", "DeclarationStore", "declare_workers", "declared_workers"]

logger = logging.getLogger(__name__)

KEPT: Final = 30 * 86_400
"""Seconds that the workers of a node that is gone stay declared when no newer app of its kind starts."""


class DeclarationStore(Protocol):
    """The part of a store that knows what workers declare."""

    async def declare_workers(
        self, membership: Membership, declarations: Sequence[Declaration], *, starts: bool
    ) -> None:
        """Say which workers a node has, and what they declare; without effect when its epoch was replaced.

        Of several declarations of one name that of the node which started last holds. A name is withdrawn when no
        node has it: not this one any more, none that lives, and of those that are gone none, but for nodes of
        another app that may come back. Those count until a node starts that has one of their workers too, for
        `KEPT` seconds at most.

        Args:
            membership: of the node.
            declarations: each name once.
            starts: the node starts. Without it what is missing is added: the node was taken for dead meanwhile.
        """

    async def declared_workers(self) -> list[Declaration]:
        """Give what is declared, the newest first, at most `MOST`; one that this program cannot read is left out."""
        ...


async def declare_workers(raw: Raw, membership: Membership, declarations: Sequence[Declaration], starts: bool) -> None:
    """See `DeclarationStore.declare_workers`."""
    await raw.execute(
        statement("declare_workers"),
        membership.node_id,
        membership.epoch,
        [declaration.name for declaration in declarations],
        [declaration.encode().decode() for declaration in declarations],
        starts,
    )


async def declared_workers(raw: Raw) -> list[Declaration]:
    """See `DeclarationStore.declared_workers`."""
    found = []
    for name, text in await raw.fetch(statement("declared_workers"), MOST):
        try:
            found.append(Declaration.decode(text))
        except ValueError as error:
            logger.warning("worker %s is declared by a program that this one does not understand: %s", name, error)
    return found
