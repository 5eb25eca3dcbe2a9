"""Whole records: which are sealed when they are built, and how they are opened and sealed again."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final, Literal

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import InvalidJob
from kathikon_actors.jobs.sealing import SEALED, CannotOpen, Keyring, bound_id

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = ["Encrypt", "check_encrypt", "is_sealed", "open_record", "rebind", "seal_new", "seal_report_parts"]

Encrypt = Literal["args", "meta"] | bool | None
"""`None`: as the app does, which encrypts arguments when it has keys. `True` or `"args"`: it must. `"meta"`: the meta
too. `False`: nothing is encrypted."""

_ENCRYPT: Final = (None, True, False, "args", "meta")


def check_encrypt(worker: str, value: object) -> Encrypt:
    """Give the option as it was given.

    Raises:
        InvalidJob: it is none.
    """
    if value is None or isinstance(value, bool) or value in ("args", "meta"):
        return value
    raise InvalidJob(worker, "encrypt", f'is {value!r}; give True, False, "args" or "meta"')


def is_sealed(record: Record) -> bool:
    """Tell whether a job is encrypted: its arguments are, and then its result and errors will be."""
    return record.args.startswith(SEALED)


def seal_new(record: Record, keyring: Keyring | None, encrypt: Encrypt) -> None:
    """Encrypt a job that was just built, when app, worker or call say so.

    Raises:
        InvalidJob: it must be encrypted and cannot be, or looks as if it were encrypted already.
    """
    if is_sealed(record) or record.meta.startswith(SEALED):
        raise InvalidJob(record.worker, "args", "look encrypted; the key 'kathikon.sealed' is taken")
    if encrypt is False or (encrypt is None and keyring is None):
        return
    if keyring is None:
        raise InvalidJob(
            record.worker, "encrypt", "is asked for, and there are no encryption_keys here; give those of the app"
        )
    unique = None if record.extra is None else record.extra.unique
    if unique is not None and {"args", "meta"} & set(unique.replace):
        raise InvalidJob(
            record.worker, "unique", "replaces args or meta, and what is encrypted is bound to one job; leave that out"
        )
    job_id = bound_id(record)
    record.args = keyring.seal_json(record.args, job_id, "args")
    if encrypt == "meta":
        record.meta = keyring.seal_json(record.meta, job_id, "meta")


def open_record(record: Record, keyring: Keyring | None) -> Record:
    """Give an encrypted job as it is in plain: a copy.

    Raises:
        CannotOpen: no keys, the wrong ones, or it was tampered with.
    """
    job_id = bound_id(record)
    if keyring is None:
        raise CannotOpen(job_id, "args", "there are no encryption_keys here")
    plain: Record = copy(record)
    plain.args = keyring.open_json(record.args, job_id, "args")
    plain.meta = keyring.open_json(record.meta, job_id, "meta")
    if record.errors:
        entries: list[dict[str, Any]] = json.decode(b"[" + record.errors + b"]")
        for entry in entries:
            for field in ("message", "traceback"):
                entry[field] = keyring.open_text(entry[field], job_id, field)
        plain.errors = b",".join(map(json.encode, entries))
    return plain


def rebind(record: Record, keyring: Keyring | None, old: bytes, new: bytes) -> None:
    """Seal arguments and meta for another id.

    Raises:
        CannotOpen: see `open_record`.
    """
    if not is_sealed(record):
        return
    if keyring is None:
        raise CannotOpen(old, "args", "there are no encryption_keys here")
    record.args = keyring.seal_json(keyring.open_json(record.args, old, "args"), new, "args")
    if record.meta.startswith(SEALED):
        record.meta = keyring.seal_json(keyring.open_json(record.meta, old, "meta"), new, "meta")


def seal_report_parts(
    keyring: Keyring, job_id: bytes, result: bytes | None, message: str | None, traceback: str | None
) -> tuple[bytes | None, str | None, str | None]:
    """Encrypt what a run gave: result, message, traceback."""
    return (
        result if result in (None, b"null") else keyring.seal_json(result or b"null", job_id, "result"),
        keyring.seal_text(message, job_id, "message"),
        keyring.seal_text(traceback, job_id, "traceback"),
    )
