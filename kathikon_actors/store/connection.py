"""The border between trio and asyncpg: the only file that knows both loops.

A `Connection` opens when it is first used and again after it was cut. Work on it is one asyncio coroutine, so that
several round trips cross the border once. Whatever leaves the state of the connection unknown (cancellation, a
timeout, an error in the middle) closes it: the server rolls back, and the next use opens another.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
import trio
import trio_asyncio  # type: ignore[import-untyped]

from kathikon_actors.jobs.errors import BadConfiguration, KathikonError, StoreUnavailable
from kathikon_actors.store.hearing import Hearing
from kathikon_actors.store.steps import in_steps
from kathikon_actors.store.urls import StoreUrl

if TYPE_CHECKING:
    from kathikon_actors.telemetry.telling import Telling

    Raw: TypeAlias = asyncpg.Connection[asyncpg.Record]

__all__ = ["BY_INDEX", "FRESH_PLANS", "ONE_PLAN", "Connection", "Pool", "connect", "explain", "open_loop", "too_slow"]

T = TypeVar("T")

_log = logging.getLogger("kathikon.store")

FRESH_PLANS: Final[Mapping[str, str]] = MappingProxyType({"plan_cache_mode": "force_custom_plan"})
"""Session settings for most work: a plan that was kept from an empty table would scan all that came since."""

BY_INDEX: Final[Mapping[str, str]] = MappingProxyType(
    {**FRESH_PLANS, "enable_seqscan": "off", "enable_bitmapscan": "off"}
)
"""Session settings for work on few rows of a table that may have grown since it was last analyzed."""

ONE_PLAN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
)
"""Session settings for statements that look rows up by id: only that plan is left, so it may be kept for ever."""

_CLOSE_SECONDS: Final = 2.0
_APPLICATION: Final = "kathikon"
_OLDEST_SERVER: Final = 130000

# What the server says when the fault lies with it or with the way to it, by the first two letters of its code:
# connection, rolled back by the server, resources, operator, system. 25 covers a standby that takes no writes.
_TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58", "25"})


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """Run the asyncio loop that every Postgres store needs; one around a whole program is enough.

    Within a loop that runs already it does nothing.

    Example:
        ```python
        async with open_loop():
            store = PostgresStore("postgresql://localhost/shop")
            await store.open()
        ```
    """
    running = trio_asyncio.current_loop.get()
    if running is not None:
        if running.get_exception_handler() is None:
            running.set_exception_handler(_log_unawaited)
        yield
        return
    failure: Exception | None = None
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_unawaited)
        try:
            yield
        except Exception as error:
            # Raised after the loop, so that its nurseries do not wrap it into groups.
            failure = error
    if failure is not None:
        raise failure


def _log_unawaited(_loop: object, context: dict[str, Any]) -> None:
    """Log an error that no task awaits, where trio-asyncio by itself would end the whole program.

    A connection that is cut while asyncpg writes to it leaves such an error behind, beside the one that it raises.
    """
    _log.debug("%s", context.get("message"), exc_info=context.get("exception"))


class Connection:
    """One connection to Postgres, awaited from trio, used by one task at a time.

    Args:
        url: where to.
        timeout: seconds that connecting, and each piece of work, may take.
        settings: of the session, beside those that every one has.
        telling: tells what the work has done to jobs and batches, while somebody listens.
        later: it is told with the next `Telling.flush`.
    """

    def __init__(
        self,
        url: StoreUrl,
        timeout: float,
        settings: Mapping[str, str] = FRESH_PLANS,
        telling: Telling | None = None,
        *,
        later: bool = False,
    ) -> None:
        self._hearing = None if telling is None else Hearing(telling, later=later)
        self._url = url
        self._timeout = timeout
        self._settings = settings
        self._lock = trio.Lock()
        self._raw: Raw | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected as far as known."""
        return self._raw is not None and not self._raw.is_closed()

    @property
    def raw(self) -> Raw | None:
        """The asyncpg connection: another object after each opening, so that what is known of one ends with it."""
        return self._raw

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `work(raw, *args)` on the asyncio loop; it may await what asyncpg gives, see `steps`.

        Errors of Kathikon leave the connection as it is; `work` raises them only with no transaction open.

        Raises:
            StoreUnavailable: not connected, cut, too slow, or the server cannot at present.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            return await self._on_loop(work, args)
        finally:
            self._lock.release()

    async def close(self) -> None:
        """Say goodbye if the server listens, else just close; the next `run` opens again."""
        raw, self._raw = self._raw, None
        if raw is None or raw.is_closed():
            return
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await trio_asyncio.aio_as_trio(raw.close)(timeout=_CLOSE_SECONDS / 2)
        raw.terminate()

    async def _on_loop(self, work: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        if trio_asyncio.current_loop.get() is None:
            raise RuntimeError("a Postgres store needs an asyncio loop around it: async with open_loop(): ...")
        clean = False
        try:
            with trio.fail_after(self._timeout):
                raw = self._raw
                if raw is None or raw.is_closed():
                    raw = await trio_asyncio.aio_as_trio(connect)(self._url, self._timeout, self._settings)
                    self._raw = raw
                hearing = self._hearing
                result = await in_steps(work(raw, *args) if hearing is None else hearing.run(raw, work, args))
            clean = True
            return result
        except KathikonError:
            clean = True
            raise
        except trio.TooSlowError:
            raise too_slow(self._url, self._timeout) from None
        except Exception as error:
            explained = explain(self._url, error)
            if explained is None:
                raise
            raise explained from error
        finally:
            if not clean and self._raw is not None:
                self._raw.terminate()
                self._raw = None


class Pool:
    """A few connections for work that may go side by side: claims and reads.

    Args:
        url: where to.
        timeout: as for `Connection`.
        size: the most connections; each opens when it is first needed.
        telling: as for `Connection`.
    """

    def __init__(self, url: StoreUrl, timeout: float, size: int, telling: Telling | None = None) -> None:
        self._free = trio.Semaphore(size, max_value=size)
        self._idle = [Connection(url, timeout, FRESH_PLANS, telling) for _ in range(size)]
        self._all = tuple(self._idle)

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `work(raw, *args)` on a free connection, the last one used first."""
        async with self._free:
            connection = self._idle.pop()
            try:
                return await connection.run(work, *args)
            finally:
                self._idle.append(connection)

    async def close(self) -> None:
        """Close each connection."""
        for connection in self._all:
            await connection.close()


async def connect(url: StoreUrl, timeout: float, settings: Mapping[str, str] = FRESH_PLANS) -> Raw:
    """Open an asyncpg connection with our session settings and codecs; for asyncio.

    Raises:
        StoreUnavailable: nobody answers there.
        BadConfiguration: the URL or the server's version does not fit.
    """
    try:
        raw: Raw = await asyncpg.connect(
            url.text,
            timeout=timeout,
            server_settings={
                "application_name": _APPLICATION,
                "jit": "off",
                "statement_timeout": str(int(timeout * 1000)),
                "idle_in_transaction_session_timeout": str(int(timeout * 1000)),
                "search_path": "pg_catalog",
                "timezone": "UTC",
                **settings,
            },
        )
    except ValueError as error:
        # asyncpg names the option that it cannot read, never the password.
        raise BadConfiguration(f"the store's URL {url.safe} cannot be used: {error}") from None
    except (asyncpg.CannotConnectNowError, ConnectionError, OSError, TimeoutError) as error:
        raise _unavailable(url, f"{_reason(error)}; is the server running there?") from error
    try:
        if raw.get_server_version().major * 10_000 < _OLDEST_SERVER:
            version = raw.get_server_version().major
            raise BadConfiguration(f"{url.where} is PostgreSQL {version}; Kathikon needs 13 or newer")
        await raw.set_type_codec("timestamptz", schema="pg_catalog", format="tuple", encoder=tuple, decoder=tuple)
    except BaseException:
        raw.terminate()
        raise
    return raw


def explain(url: StoreUrl, error: Exception) -> StoreUnavailable | None:
    """Give the error that a user understands, for one that a connection raised; `None` when it is not about the way."""
    if isinstance(error, asyncpg.PostgresError):
        if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
            return _unavailable(url, f"{error}; check user and password in the store's URL")
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            return _unavailable(url, f"{error}; create it with createdb, or correct the store's URL")
        transient = error.sqlstate is not None and error.sqlstate[:2] in _TRANSIENT_CLASSES
        return _unavailable(url, f"{error}") if transient else None
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _unavailable(url, f"{error}")
    if isinstance(error, ssl.SSLError):
        return _unavailable(url, f"TLS failed ({error.reason}); check sslmode in the store's URL")
    if isinstance(error, OSError | EOFError):
        return _unavailable(url, _reason(error))
    return None


def too_slow(url: StoreUrl, timeout: float) -> StoreUnavailable:
    """Give the error of a server that did not answer in time."""
    return _unavailable(url, f"it did not answer within {timeout:g} s; is the server overloaded or stopped?")


def _unavailable(url: StoreUrl, problem: str) -> StoreUnavailable:
    return StoreUnavailable(f"{url.where}: {problem}")


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
