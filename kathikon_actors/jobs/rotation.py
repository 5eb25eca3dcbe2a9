"""Sealing anew with the newest key what an older one sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from kathikon_actors.jobs import json
from kathikon_actors.jobs.sealing import SEALED_KEY, SEALED_TEXT, Keyring

__all__ = ["Carried", "Rotated", "renew"]


@dataclass(frozen=True)
class Rotated:
    """What a rotation did.

    Attributes:
        jobs: how many were encrypted anew.
        crons: how many cron entries were.
        unreadable: how many jobs and entries none of the keys opens; they were left as they are.
        pending: how many changed while that was done, or are held by a running job: rotate again for those.
    """

    jobs: int = 0
    crons: int = 0
    unreadable: int = 0
    pending: int = 0


class Carried(NamedTuple):
    """What a job carries that may be sealed, as the store has it.

    Attributes:
        bound: 16 bytes: the id that it is bound to.
        dependency_results: JSON members `"id":result`, joined by commas, each bound to its own job.
    """

    id: bytes
    bound: bytes
    args: str
    meta: str
    result: str | None
    errors: str
    dependency_results: str | None


def renew(carried: Carried, keyring: Keyring) -> Carried | None:
    """Give it sealed with the newest key; `None` when nothing is sealed with another.

    Raises:
        CannotOpen: none of the keys opens a part of it.
    """
    fresh = carried._replace(
        args=_renew_json(carried.args, carried.bound, "args", keyring),
        meta=_renew_json(carried.meta, carried.bound, "meta", keyring),
        result=None if carried.result is None else _renew_json(carried.result, carried.bound, "result", keyring),
        errors=_renew_errors(carried, keyring),
        dependency_results=_renew_results(carried.dependency_results, keyring),
    )
    return None if fresh == carried else fresh


def _renew_json(text: str, bound: bytes, field: str, keyring: Keyring) -> str:
    if SEALED_KEY not in text:
        return text
    value = json.decode(text)
    fresh = _renew_value(value, bound, field, keyring)
    return text if fresh is value else json.encode(fresh).decode()


def _renew_value(value: Any, bound: bytes, field: str, keyring: Keyring) -> Any:
    sealed = value.get(SEALED_KEY) if isinstance(value, dict) else None
    if not isinstance(sealed, str) or keyring.is_newest(sealed):
        return value
    return {SEALED_KEY: keyring.seal(keyring.open(sealed, bound, field), bound, field)}


def _renew_errors(carried: Carried, keyring: Keyring) -> str:
    if SEALED_TEXT not in carried.errors:
        return carried.errors
    entries: list[dict[str, Any]] = json.decode(f"[{carried.errors}]")
    changed = False
    for entry in entries:
        for field in ("message", "traceback"):
            text = entry[field]
            if isinstance(text, str) and text.startswith(SEALED_TEXT):
                sealed = text.removeprefix(SEALED_TEXT)
                if not keyring.is_newest(sealed):
                    plain = keyring.open(sealed, carried.bound, field).decode()
                    entry[field] = keyring.seal_text(plain, carried.bound, field)
                    changed = True
    return ",".join(json.encode(entry).decode() for entry in entries) if changed else carried.errors


def _renew_results(text: str | None, keyring: Keyring) -> str | None:
    if text is None or SEALED_KEY not in text:
        return text
    from uuid import UUID

    values: dict[str, Any] = json.decode(f"{{{text}}}")
    fresh = {parent: _renew_value(value, UUID(parent).bytes, "result", keyring) for parent, value in values.items()}
    return text if fresh == values else json.encode(fresh).decode()[1:-1]
