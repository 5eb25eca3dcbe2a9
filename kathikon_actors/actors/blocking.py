"""The node's actors from inside a job that is a plain function: every call blocks until it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from kathikon_actors.actors.codec import dump, dump_call, load, load_error, load_reason
from kathikon_actors.actors.errors import ActorDied, CallTimeout, NoActorSystem
from kathikon_actors.actors.frame_wire import FrameWire
from kathikon_actors.actors.node_door import portable
from kathikon_actors.actors.wire import ASKING, CALL, CAST, DIED, ERROR, REPLY, SEND, Message
from kathikon_actors.jobs.runtime import CURRENT

if TYPE_CHECKING:
    from kathikon_actors.actors.actor import Actor
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.jobs.runtime import SideChannel

__all__ = ["BlockingActorRef", "BlockingActorSystem", "blocking_actor_system"]

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")
R = TypeVar("R")

_INSERTING: Final = 60.0
"""Seconds that an insert may take; the node itself gives up before."""

_numbers = count(1)


def blocking_actor_system() -> BlockingActorSystem:
    """Give the actors of the node, in a job that is a plain function.

    Raises:
        NoActorSystem: no job runs here.

    Example:
        ```python
        @worker
        def count_visit(page: str) -> int:
            counter = blocking_actor_system().whereis("visits")
            return counter.call(Counter.add, 1)
        ```
    """
    runtime = CURRENT.get()
    if runtime is None or runtime.side is None:
        raise NoActorSystem
    return BlockingActorSystem(runtime.side)


class BlockingActorSystem:
    """The node's actor system, as a plain job sees it. Made by `blocking_actor_system`."""

    def __init__(self, side: SideChannel) -> None:
        self._side = side
        self._wire = FrameWire(side.send_frame)

    def whereis(self, name: str) -> BlockingActorRef[Any] | None:
        """Give the actor that holds `name` now, or None."""
        return BlockingActorRef(self, name) if self._ask_node("whereis", ASKING, name) else None

    def ref(self, name: str, cls: Callable[..., A]) -> BlockingActorRef[A]:  # noqa: ARG002 it types the reference
        """Make a reference by name, to whoever holds it whenever it is used; `cls` says what can be called."""
        return BlockingActorRef(self, name)

    def names(self) -> list[str]:
        """Give the names that are held now."""
        found: list[str] = self._ask_node("names", ASKING)
        return found

    def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """Insert a job; see `Node.insert`."""
        inserted: Job = self._ask_node("insert", _INSERTING, portable(job, args, options))
        return inserted

    def insert_many(self, jobs: Iterable[NewJob]) -> Any:
        """Insert jobs in input order; see `Node.insert_many`."""
        return self._ask_node("insert_many", _INSERTING, [portable(job, None, {}) for job in jobs])

    # For the references.

    def ask(self, to: object, method: str, payload: Any, label: str, timeout: float) -> Any:
        """Send a call and block until it is answered."""
        number = next(_numbers)
        self._wire.put((CALL, number, to, method, payload))
        end = monotonic() + timeout
        while (left := end - monotonic()) > 0:
            for frame in self._side.receive_frames(left):
                for message in FrameWire.messages(frame):
                    if message[0] in {REPLY, ERROR, DIED} and message[1] == number:
                        return _result(message, label, method)
        raise CallTimeout(label, method, timeout)

    def tell(self, message: Message) -> None:
        """Send something that is not answered."""
        self._wire.put(message)

    def _ask_node(self, what: str, timeout: float, *args: Any) -> Any:
        return self.ask(0, what, dump(args, "args"), "node", timeout)


class BlockingActorRef(Generic[A]):
    """An actor of the node, as a plain job sees it.

    Attributes:
        name: the name it goes by.
    """

    __slots__ = ("_system", "name")

    def __init__(self, system: BlockingActorSystem, name: str) -> None:
        self._system = system
        self.name = name

    def __repr__(self) -> str:
        return f'<BlockingActorRef "{self.name}">'

    def call(self, method: Callable[Concatenate[A, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Have the actor run `method`, and block until its result is here, 5 s at the most; see `ActorRef.call`.

        Raises:
            NoSuchActor, ActorDied, CallTimeout, Unpicklable: as there.
        """
        return self.call_within(5.0, method, *args, **kwargs)

    def call_within(
        self, timeout: float, method: Callable[Concatenate[A, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """As `call`, with another timeout in seconds."""
        payload = dump_call(args, kwargs)
        result: R = self._system.ask(self.name, method.__name__, payload, f'"{self.name}"', timeout)
        return result

    def cast(
        self, method: Callable[Concatenate[A, P], Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have the actor run `method`; nobody learns whether it did."""
        self._system.tell((CAST, self.name, method.__name__, dump_call(args, kwargs)))

    def send(self, message: object) -> None:
        """Give `message` to the actor's `handle_info`."""
        self._system.tell((SEND, self.name, dump(message, "message")))

    @property
    def alive(self) -> bool:
        """Whether somebody holds the name now."""
        return self._system.whereis(self.name) is not None


def _result(message: Message, label: str, method: str) -> Any:
    kind, _, payload = message
    if kind == REPLY:
        return load(payload)
    if kind == ERROR:
        raise load_error(payload)
    raise ActorDied(label, method, load_reason(payload))
