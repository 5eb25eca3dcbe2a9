"""Serves what running jobs ask of their node: inserts and batches, committed before the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from kathikon_actors.jobs.errors import InvalidJob, KathikonError, StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.wire import (
    WireBatch,
    WireInserted,
    WireJob,
    WireMany,
    batch_from_wire,
    error_to_wire,
    from_wire,
)
from kathikon_actors.processes.messages import Ask, Reply

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.node import Node
    from kathikon_actors.node.state import NodeState

__all__ = ["Inside", "refusal"]

logger = logging.getLogger(__name__)

AT_ONCE: Final = 256
"""Requests that are served at the same time; more wait."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class Inside:
    """One child of the node's tree: it takes requests from the table's runners while it runs.

    Args:
        state: of the node.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        table = self._state.the_table()
        async with trio.open_nursery() as nursery:

            def take(record: Record, ask: Ask, reply: Callable[[Reply], None]) -> None:
                nursery.start_soon(self._serve, record, ask, reply)

            table.on_ask = take
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                table.on_ask = None

    async def _serve(self, record: Record, ask: Ask, reply: Callable[[Reply], None]) -> None:
        try:
            async with self._limit:
                body = await self._answer(await self._node(), record, ask)
        except (KathikonError, TypeError, ValueError, msgspec.MsgspecError) as error:
            reply(refusal(ask, error))
        except Exception as error:
            logger.exception("what job %s asked failed", record.id.hex())
            reply(refusal(ask, error))
        except BaseException:  # cancelled, maybe in a group
            reply(refusal(ask, StoreUnavailable("the node is starting again; the insert may or may not be stored")))
            raise
        else:
            reply(Reply(ask.seq, ask.number, body))

    async def _node(self) -> Node:
        while self._state.node is None:  # jobs of an earlier life may start before the block begins
            await trio.sleep(0.005)
        return self._state.node

    async def _answer(self, node: Node, asker: Record, ask: Ask) -> bytes:
        match ask.what:
            case "insert":
                job = from_wire(_decode(ask.body, type=WireJob))
                record, conflict = await node.insert_record(_child(node, job, asker), given_id="id" in job.given)
                return _encode(WireInserted(msgspec.Raw(_encode(record)), conflict))
            case "insert_many" | "insert_or_abort":
                jobs = [from_wire(wire) for wire in _decode(ask.body, type=list[WireJob])]
                stored = await node.insert_records(
                    jobs,
                    lambda new, coming: _child(node, new, asker, coming),
                    on_error="abort" if ask.what == "insert_or_abort" else "continue",
                )
                return _encode(
                    WireMany(
                        [job_id.bytes for job_id in stored.ids],
                        [(place, error_to_wire(error)) for place, error in stored.errors],
                        [(place, job_id.bytes) for place, job_id in stored.conflicts],
                    )
                )
            case "open_batch":
                if asker.durability != "commit":
                    problem = f'is "{asker.durability}"; a job that waits for a batch has to be committed'
                    raise InvalidJob(asker.worker, "durability", problem)
                batch = batch_from_wire(_decode(ask.body, type=WireBatch))
                batch_id = await node.open_batch_of(asker, batch)
                asker.extra = msgspec.structs.replace(asker.extra or Extra(), opened=True)
                return _encode(batch_id)
            case "close_batch":
                return _encode(await self._state.store.batches.seal(_decode(ask.body, type=bytes)))


def _child(node: Node, job: object, asker: Record, coming: Sequence[Record] = ()) -> Record:
    record = node.build(job, coming)
    record.extra = msgspec.structs.replace(record.extra or Extra(), parent_id=asker.id)
    return record


def refusal(ask: Ask, error: BaseException) -> Reply:
    """Give the answer that raises this error in the job."""
    return Reply(ask.seq, ask.number, b"", error_to_wire(error))
