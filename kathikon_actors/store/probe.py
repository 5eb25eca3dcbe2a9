"""Ask a PostgreSQL server over its Unix socket whether it accepts connections; run one statement.

The few messages of the frontend/backend protocol 3.0 that this needs, so that waiting for a server and making a
database need neither asyncio nor asyncpg. Blocking, each answer awaited for a bounded time.
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from pathlib import Path

__all__ = ["Answer", "StatementFailed", "execute", "probe"]

_PROTOCOL_3_0 = 196608
_CANNOT_CONNECT_NOW = "57P03"
_INVALID_CATALOG_NAME = "3D000"


class Answer(Enum):
    """What a server says to a new connection."""

    ABSENT = "absent"
    """Nothing listens there."""

    BUSY = "busy"
    """A server is there, but it is starting, recovering, shutting down or slow."""

    READY = "ready"
    """The connection was accepted."""

    NO_DATABASE = "no database"
    """The server is ready, but the database does not exist."""

    REFUSED = "refused"
    """The server is there and refuses this user, or answers with another error."""


class StatementFailed(Exception):
    """The server answered with an error.

    Attributes:
        code: the five-character SQLSTATE.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{message} ({code})")


def probe(path: Path, *, user: str, database: str, timeout: float = 1.0) -> Answer:
    """Try to log in at the socket file `path`, for at most `timeout` seconds between two answers of the server."""
    try:
        _connect(path, user, database, timeout).close()
    except StatementFailed as error:
        by_code = {_CANNOT_CONNECT_NOW: Answer.BUSY, _INVALID_CATALOG_NAME: Answer.NO_DATABASE}
        return by_code.get(error.code, Answer.REFUSED)
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        return Answer.ABSENT
    except (OSError, EOFError):
        return Answer.BUSY
    return Answer.READY


def execute(path: Path, statement: str, *, user: str, database: str, timeout: float = 60.0) -> None:
    """Run one statement that gives no rows, in a connection of its own.

    Raises:
        StatementFailed: the server answered with an error.
        OSError: the server is not there, or did not answer within `timeout` seconds.
    """
    with _connect(path, user, database, timeout) as connection:
        query = statement.encode() + b"\0"
        connection.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
        _until_ready(connection)
        connection.sendall(b"X" + struct.pack("!i", 4))


def _connect(path: Path, user: str, database: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
        body = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
        connection.sendall(struct.pack("!ii", len(body) + 8, _PROTOCOL_3_0) + body)
        _until_ready(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _until_ready(connection: socket.socket) -> None:
    """Read messages until ReadyForQuery; raise what the server reports."""
    failure: StatementFailed | None = None
    while True:
        kind, length = struct.unpack("!ci", _read(connection, 5))
        body = _read(connection, length - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            failure = StatementFailed(fields.get(b"C", "?????"), fields.get(b"M", "no message"))
            if fields.get(b"S") in ("FATAL", "PANIC"):
                raise failure
        elif kind == b"R" and body != b"\0\0\0\0":
            raise StatementFailed("28000", "the server asks for a password")
        elif kind == b"Z":
            if failure is not None:
                raise failure
            return


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("the server closed the connection")
        data += part
    return bytes(data)
