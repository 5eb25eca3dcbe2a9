"""The part of `Node` and `Client` that encrypts what is stored with the newest key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import msgspec

from kathikon_actors.jobs.cron import StoredCron
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.rotation import Carried, Rotated, renew
from kathikon_actors.jobs.sealing import SEALED_KEY, SEALED_TEXT, CannotOpen
from kathikon_actors.store.cron_store import CronChange
from kathikon_actors.store.memory_sealed import carried_by, put_into

if TYPE_CHECKING:
    from kathikon_actors.jobs.sealing import Keyring
    from kathikon_actors.store.cron_store import CronStore
    from kathikon_actors.store.rotating import SealedStore

__all__ = ["Rotation", "rotate"]


class Rotation(ABC):
    """Rotation of keys."""

    @abstractmethod
    def _rotating(self) -> tuple[Keyring | None, SealedStore, CronStore]: ...

    async def rotate_keys(self) -> Rotated:
        """Encrypt everything that is stored with the newest key.

        First give every node and client the new key in front of the old ones, and start them again; then rotate;
        when nothing is pending or unreadable any more, the old keys may go.

        Raises:
            BadConfiguration: there are no `encryption_keys` here.
            StoreUnavailable: the store did not answer; rotate again.

        Example:
            ```python
            done = await node.rotate_keys()
            assert not done.unreadable
            ```
        """
        keyring, sealed, crons = self._rotating()
        if keyring is None:
            raise BadConfiguration("there are no encryption_keys to rotate to; give them to the app or client")
        return await rotate(keyring, sealed, crons)


async def rotate(keyring: Keyring, sealed: SealedStore, crons: CronStore) -> Rotated:
    """Go through every job and cron entry."""
    jobs = unreadable = pending = 0
    after: bytes | None = None
    while page := await sealed.page(after):
        after = page[-1].id
        changes: list[tuple[Carried, Carried]] = []
        for old in page:
            try:
                fresh = renew(old, keyring) if _may_be_sealed(old) else None
            except (CannotOpen, ValueError, KeyError, TypeError):
                unreadable += 1
                continue
            if fresh is not None:
                changes.append((old, fresh))
        if changes:
            done = await sealed.replace(changes)
            jobs += done
            pending += len(changes) - done
    done_crons = 0
    for row in await crons.load_crons():
        try:
            template = _renew_template(row, keyring)
        except (CannotOpen, ValueError, KeyError, TypeError):
            unreadable += 1
            continue
        if template is not None:
            done_crons += await crons.change_cron(row.name, CronChange(0, template=template))
    return Rotated(jobs, done_crons, unreadable, pending)


def _may_be_sealed(carried: Carried) -> bool:
    texts = (carried.args, carried.meta, carried.result or "", carried.dependency_results or "")
    return any(SEALED_KEY in text for text in texts) or SEALED_TEXT in carried.errors


def _renew_template(row: StoredCron, keyring: Keyring) -> str | None:
    record = msgspec.json.decode(row.template, type=Record)
    fresh = renew(carried_by(record), keyring)
    if fresh is None:
        return None
    put_into(record, fresh)
    return msgspec.json.encode(record).decode()
