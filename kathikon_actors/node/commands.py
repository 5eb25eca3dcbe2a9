"""Carries out what operators ask of this node's jobs from elsewhere, and of jobs that nobody owns.

A command is a row in the store: told by a notice, found again by a poll, so that a node that was away catches up. It
is answered after the change is committed, and only then; a node that dies in between leaves it to its next life or to
whoever takes the job over, and the line of history with the command's own time tells that it is done already.
A question to this node is answered from its memory.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from kathikon_actors.jobs.actions import NotMeant
from kathikon_actors.jobs.errors import (
    InvalidState,
    JobNotFound,
    OwnedElsewhere,
    StoreUnavailable,
    UniqueConflict,
)
from kathikon_actors.node.answers import answer
from kathikon_actors.node.manage import change_job, note_progress
from kathikon_actors.store.commands import COMMANDS, DONE, HELD, NOT_FOUND, NOT_MEANT, Command, Question

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState

__all__ = ["Commands"]

logger = logging.getLogger(__name__)

POLL: Final = 1.0
"""Seconds between two looks for commands when no notice comes."""

LOOK_AGAIN: Final = 0.05
"""Seconds until the next look while something could not be carried out yet."""

AT_ONCE: Final = 256
"""Commands that are carried out at the same time."""


class Commands:
    """Carries out commands until cancelled.

    Args:
        state: of the node.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._wake = trio.Event()
        self._under_way: set[int] = set()
        self._answers: list[tuple[int, str]] = []
        self._left = False

    async def run(self, *, task_status: trio.TaskStatus[Commands] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for commands and carry them out."""
        task_status.started(self)
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                try:
                    await self._round(nursery)
                except StoreUnavailable:
                    await self._state.link.reopened()
                    continue
                with trio.move_on_after(LOOK_AGAIN if self._left else self._state.backstop(POLL)):
                    await self._wake.wait()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _round(self, nursery: trio.Nursery) -> None:
        store = self._state.store
        await store.listen_control(COMMANDS, self._wake_up)
        await self._give_answers()
        self._left = False
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return
        # What is under way has no answer yet, so it is found again: ask for so many more.
        found = await store.open_commands(self._state.the_membership(), 0, AT_ONCE)
        for command in [c for c in found if c.number not in self._under_way][:room]:
            self._under_way.add(command.number)
            nursery.start_soon(self._carry_out, command)

    async def _give_answers(self) -> None:
        answers, self._answers = self._answers, []
        if not answers:
            return
        try:
            await self._state.store.give_answers(answers)
        except BaseException:
            self._answers = [*answers, *self._answers]
            raise
        self._under_way.difference_update(number for number, _ in answers)

    async def _carry_out(self, command: Command | Question) -> None:
        """Carry a command out; what cannot be done now is found again at the next look."""
        told: str | None = None
        try:
            told = await (self._tell(command) if isinstance(command, Question) else self._change(command))
        except StoreUnavailable as error:
            logger.info("command %d waits: %s", command.number, error)
        except OwnedElsewhere:
            pass  # whoever has the job now finds the command there
        except Exception:
            logger.exception("%s failed", command)
        finally:
            if told is None:
                self._left = True
                self._under_way.discard(command.number)
            else:
                self._answers.append((command.number, told))
                self._wake_up()

    async def _tell(self, question: Question) -> str | None:
        node = self._state.node
        if node is None or not node.is_up:
            return None
        return msgspec.json.encode(await answer(node, question.what)).decode()

    async def _change(self, command: Command) -> str | None:
        state, change = self._state, command.change
        if command.job_id not in state.the_table().records:
            answered = await state.store.carry_out(command.number)
            if answered:
                self._under_way.discard(command.number)
                return DONE  # the answer that is there already stays
            return None
        if change is None:
            return DONE if await note_progress(state, command.job_id, command.percent) else None
        try:
            await change_job(state, change, command.job_id)
        except JobNotFound:
            return NOT_FOUND
        except NotMeant:
            return NOT_MEANT
        except UniqueConflict as error:
            return HELD + str(error.holder)
        except InvalidState as error:
            return DONE if change.is_fulfilled_by(error.old) else error.old
        return DONE
