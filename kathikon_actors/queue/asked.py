"""Questions of running jobs on their way to whoever answers them, and the answers on their way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.wire import error_to_wire
from kathikon_actors.processes.frames import FrameTooLarge
from kathikon_actors.processes.messages import Ask, Reply

if TYPE_CHECKING:
    from kathikon_actors.queue.given import Given
    from kathikon_actors.queue.workplace import Workplace
    from kathikon_actors.store.table import Table

__all__ = ["hand_on"]


def hand_on(ask: Ask, runs: Mapping[int, Given], table: Table, place: Workplace) -> None:
    """Hand a question on to the node; one of a run that is not ours any more gets no answer."""

    def answer(reply: Reply) -> None:
        try:
            place.send([reply])
        except (FrameTooLarge, BufferError) as error:
            place.send([Reply(reply.seq, reply.number, b"", error_to_wire(error))])

    given = runs.get(ask.seq)
    if given is None:
        return
    if table.on_ask is None:
        error = StoreUnavailable("the node is starting again; nothing was stored, try again in a moment")
        answer(Reply(ask.seq, ask.number, b"", error_to_wire(error)))
    else:
        table.on_ask(given.record, ask, answer)
