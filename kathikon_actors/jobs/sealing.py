"""Encryption of what a job carries: arguments, meta on request, result, and the words of its errors.

AES-256-GCM. What is sealed is bound to the job's id and to the field that it stands in, so that it opens nowhere else;
a rerun is bound to the first job of its chain, as it carries the same arguments. What is sealed looks like this:

    {"kathikon.sealed": "BASE64"}        arguments, meta, result
    kathikon.sealed:BASE64               the message and the traceback of an error

in BASE64: one byte of version, 4 bytes that name the key, 12 of nonce, the cipher text with its tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import BadConfiguration, KathikonError
from kathikon_actors.jobs.ids import as_uuid

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = [
    "SEALED",
    "SEALED_KEY",
    "SEALED_TEXT",
    "CannotOpen",
    "Keyring",
    "generate_key",
    "hidden",
    "keyring_of",
    "known_keyrings",
    "unseal",
]

SEALED_KEY: Final = "kathikon.sealed"
SEALED: Final = b'{"kathikon.sealed":"'
"""What sealed JSON begins with."""

SEALED_TEXT: Final = "kathikon.sealed:"
"""What sealed words begin with."""

_VERSION: Final = b"\x01"
_KEY_BYTES: Final = 32
_NAME_BYTES: Final = 4
_NONCE_BYTES: Final = 12


class CannotOpen(KathikonError):
    """Something that is encrypted cannot be read: the key is missing, or it was tampered with.

    Attributes:
        job_id: of the job.
        field: which part of it.
    """

    def __init__(self, job_id: bytes, field: str, why: str) -> None:
        self.job_id = as_uuid(job_id)
        self.field = field
        super().__init__(f"{field} of job {self.job_id} cannot be decrypted: {why}")


def generate_key() -> str:
    """Give a new key as text: 32 random bytes in base64.

    Example:
        ```python
        print(generate_key())  # keep it where your other secrets are
        ```
    """
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


class Keyring:
    """Keys, newest first: the first one seals, each of them opens. It shows no key to anybody.

    Args:
        keys: 32 bytes each, as `bytes` or as text in base64 or hexadecimal.

    Raises:
        BadConfiguration: one is no key (it is not shown), or `cryptography` is not installed.
    """

    def __init__(self, keys: Iterable[bytes | str]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise BadConfiguration(
                "encryption_keys need the package cryptography: pip install 'kathikon-actors[crypto]'"
            ) from None
        if isinstance(keys, bytes | str):
            raise BadConfiguration("encryption_keys is one key; give a list of keys, newest first")
        self.raw = tuple(_key(place, key) for place, key in enumerate(keys))
        if not self.raw:
            raise BadConfiguration("encryption_keys is empty; give at least one key, or leave it out")
        self._invalid = InvalidTag
        self._ciphers = {_name(key): AESGCM(key) for key in self.raw}
        self._newest = _name(self.raw[0])
        # The oldest: a node that has the new key already and one that has not yet agree on it.
        self._hiding = hmac.digest(self.raw[-1], b"kathikon hidden value", "sha256")

    def seal(self, plain: bytes, job_id: bytes, field: str) -> str:
        """Encrypt with the newest key; give base64."""
        nonce = os.urandom(_NONCE_BYTES)
        head = _VERSION + self._newest
        cipher = self._ciphers[self._newest].encrypt(nonce, plain, _bound_to(head, job_id, field))
        return base64.b64encode(head + nonce + cipher).decode()

    def open(self, text: str, job_id: bytes, field: str) -> bytes:
        """Decrypt.

        Raises:
            CannotOpen: the key is missing, or this is not what was sealed for this job and field.
        """
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise CannotOpen(job_id, field, "it is damaged") from None
        head, nonce, cipher = raw[:5], raw[5:17], raw[17:]
        if head[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise CannotOpen(job_id, field, "it is damaged, or was written by a newer version")
        key = self._ciphers.get(head[1:])
        if key is None:
            raise CannotOpen(job_id, field, "its key is not among encryption_keys")
        try:
            return key.decrypt(nonce, cipher, _bound_to(head, job_id, field))
        except self._invalid:
            raise CannotOpen(job_id, field, "it is not what was encrypted for this job") from None

    def is_newest(self, text: str) -> bool:
        """Tell whether sealed base64 names the newest key."""
        try:
            return base64.b64decode(text[:8])[1:5] == self._newest
        except (binascii.Error, ValueError):
            return False

    def seal_json(self, plain: bytes, job_id: bytes, field: str) -> bytes:
        """Encrypt JSON; give JSON."""
        return SEALED + self.seal(plain, job_id, field).encode() + b'"}'

    def open_json(self, raw: bytes, job_id: bytes, field: str) -> bytes:
        """Decrypt what `seal_json` gave, as a store gives it back; anything else is given as it is."""
        if SEALED_KEY.encode() not in raw[:40]:
            return raw
        value = json.decode(raw)
        text = value.get(SEALED_KEY) if isinstance(value, dict) else None
        return raw if not isinstance(text, str) else self.open(text, job_id, field)

    def seal_text(self, plain: str | None, job_id: bytes, field: str) -> str | None:
        """Encrypt words."""
        return None if plain is None else SEALED_TEXT + self.seal(plain.encode(), job_id, field)

    def open_text(self, text: str | None, job_id: bytes, field: str) -> str | None:
        """Decrypt what `seal_text` gave; anything else is given as it is."""
        if text is None or not text.startswith(SEALED_TEXT):
            return text
        return self.open(text.removeprefix(SEALED_TEXT), job_id, field).decode()

    def open_value(self, value: Any, job_id: bytes, field: str) -> Any:
        """Decrypt a decoded value, if it is what `seal_json` gave."""
        text = value.get(SEALED_KEY) if isinstance(value, dict) else None
        return value if not isinstance(text, str) else json.decode(self.open(text, job_id, field))

    def hide(self, plain: bytes) -> str:
        """Give what stands for a value where it must not be read: a keyed hash (HMAC-SHA-256), in hexadecimal."""
        return hmac.digest(self._hiding, plain, "sha256").hex()

    def __repr__(self) -> str:
        return f"<Keyring of {len(self.raw)}>"

    def __reduce__(self) -> str:
        raise TypeError("a keyring is not pickled: keys go nowhere unasked")


def keyring_of(keys: object) -> Keyring | None:
    """Give the keyring of `encryption_keys` as a user gives them; `None` when there are none, as `()` and `None` say.

    Raises:
        BadConfiguration: they are none. An empty text is a variable that was not set, and no wish to go without.
    """
    if keys is None:
        return None
    if isinstance(keys, bytes | str) or not isinstance(keys, Iterable):
        given = "one key" if isinstance(keys, bytes | str) else f"of type {type(keys).__name__}"
        raise BadConfiguration(f"encryption_keys is {given}; give a list of keys, newest first")
    found = tuple(keys)
    return Keyring(found) if found else None


def bound_id(record: Record) -> bytes:
    """Give the id that what a job carries is bound to."""
    return record.original_id or record.id


# -- looking at jobs --------------------------------------------------------------------------------------------

_KEYRINGS: list[Keyring] = []


@contextmanager
def known_keyrings(keyring: Keyring | None) -> Iterator[None]:
    """Let the jobs that this process holds be read with these keys within the block."""
    if keyring is None:
        yield
        return
    _KEYRINGS.append(keyring)
    try:
        yield
    finally:
        _KEYRINGS.remove(keyring)


def unseal(value: Any, job_id: bytes, field: str) -> Any:
    """Decrypt a decoded value, or words, with the keys that are known in this process; give what is plain as it is.

    Raises:
        CannotOpen: none of them opens it.
    """
    return _opened(value, job_id, field)[0]


def hidden(value: Any, job_id: bytes, field: str) -> tuple[Any, Callable[[bytes], str] | None]:
    """Do as `unseal`, and give what makes a keyed hash of any part of it: `Keyring.hide`; `None` for what is plain.

    Raises:
        CannotOpen: none of the keys opens it.
    """
    opened, keyring = _opened(value, job_id, field)
    return opened, None if keyring is None else keyring.hide


def _opened(value: Any, job_id: bytes, field: str) -> tuple[Any, Keyring | None]:
    if isinstance(value, dict):
        if not isinstance(value.get(SEALED_KEY), str):
            return value, None
    elif not (isinstance(value, str) and value.startswith(SEALED_TEXT)):
        return value, None
    failure = CannotOpen(job_id, field, "no open node or client of this process has encryption_keys")
    for keyring in _KEYRINGS:
        try:
            if isinstance(value, str):
                return keyring.open_text(value, job_id, field), keyring
            return keyring.open_value(value, job_id, field), keyring
        except CannotOpen as error:
            failure = error
    raise failure


def _key(place: int, key: object) -> bytes:
    raw: bytes | None = None
    if isinstance(key, bytes):
        raw = key
    elif isinstance(key, str):
        try:
            raw = bytes.fromhex(key) if len(key) == 2 * _KEY_BYTES else base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            raw = None
    if raw is None or len(raw) != _KEY_BYTES:
        raise BadConfiguration(
            f"encryption_keys[{place}] is no key (it is not shown here); give 32 bytes, or text as generate_key() "
            "makes it"
        )
    return raw


def _name(key: bytes) -> bytes:
    return hashlib.sha256(b"kathikon key name" + key).digest()[:_NAME_BYTES]


def _bound_to(head: bytes, job_id: bytes, field: str) -> bytes:
    return head + job_id + field.encode()
