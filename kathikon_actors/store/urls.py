"""Which store a user means: `memory:`, `embedded:PATH` or `postgresql://...`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean, shown
from kathikon_actors.jobs.json import is_text

__all__ = ["StoreKind", "StoreUrl", "parse_store_url"]

StoreKind = Literal["memory", "embedded", "postgresql"]

_SCHEMES: Final[dict[str, StoreKind]] = {
    "memory": "memory",
    "embedded": "embedded",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}
_KNOWN: Final = 'give "memory:", "embedded:PATH" or "postgresql://USER@HOST/DATABASE"'
_SECRETS: Final = frozenset({"password", "sslpassword", "passfile"})


@dataclass(frozen=True)
class StoreUrl:
    """A store URL that was understood.

    Attributes:
        kind: which store it is.
        text: the URL as given; it may hold a password, so it is left out of the `repr`.
        safe: the URL without any secret: for errors, logs and the tree.
        path: the data directory of an embedded server, else `None`.
        where: host and database in words, for errors; empty unless the kind is postgresql.
    """

    kind: StoreKind
    text: str = field(repr=False)
    safe: str
    path: Path | None = None
    where: str = ""

    def __str__(self) -> str:
        return self.safe


def parse_store_url(text: str) -> StoreUrl:
    """Understand what a user gave as store.

    Args:
        text: `memory:`, `embedded:PATH`, `postgresql://...` or `postgres://...`.

    Raises:
        BadConfiguration: it is none of these; the error holds no password.

    Example:
        ```python
        assert parse_store_url("postgresql://ann:secret@db/shop").safe == "postgresql://ann@db/shop"
        ```
    """
    if not is_text(text) or "\0" in unquote(text):
        raise BadConfiguration(f"the store is {_shown(text)}; {_KNOWN}")
    scheme, colon, rest = text.partition(":")
    kind = _SCHEMES.get(scheme)
    if not colon or kind is None:
        shown = scheme if colon else text.rpartition("@")[2]
        raise BadConfiguration(f'no store is called "{shown}"; {_KNOWN}.{did_you_mean(scheme, _SCHEMES)}')
    if kind == "memory":
        if rest:
            raise BadConfiguration('the memory store takes nothing after the colon; give "memory:"')
        return StoreUrl("memory", text, text)
    if kind == "embedded":
        if not rest:
            raise BadConfiguration('the embedded store needs a directory; give "embedded:PATH"')
        try:
            return StoreUrl("embedded", text, text, Path(rest).expanduser())
        except RuntimeError:  # "~somebody" who is not known here
            raise BadConfiguration(
                f'the embedded store\'s directory "{rest}" is in no home; give "embedded:PATH"'
            ) from None
    return _postgresql(text)


def _shown(text: object) -> str:
    """Show what is no URL; text may hold a password."""
    return "text that holds a character which no URL has" if isinstance(text, str) else shown(text)


def _check_ports(hosts: str, given: str) -> None:
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts.split(",")] + given.split(",")
    for port in filter(None, ports):
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65_536:
            raise BadConfiguration(f'the store\'s URL has the port "{port[:20]}"; give 1 to 65535')


def _postgresql(text: str) -> StoreUrl:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise BadConfiguration(f"the store's URL cannot be read: {error}; {_KNOWN}") from None
    if not text.startswith(f"{parts.scheme}://"):
        raise BadConfiguration(f'"{parts.scheme}:" is followed by two slashes; {_KNOWN}')
    if parts.fragment:
        raise BadConfiguration('the store\'s URL holds a "#"; write it as %23 where it belongs to a password')
    user, at, hosts = parts.netloc.rpartition("@")
    query = parse_qsl(parts.query, keep_blank_values=True)
    shown = [(name, value) for name, value in query if name not in _SECRETS]
    options_shown = "?" + urlencode(shown, safe="/") if shown else ""
    safe = f"{parts.scheme}://{user.partition(':')[0]}{at}{hosts}{parts.path}{options_shown}"
    options = dict(query)
    _check_ports(hosts, options.get("port", ""))
    host = hosts or options.get("host", "")
    database = unquote(parts.path.lstrip("/")) or options.get("dbname") or options.get("database") or ""
    named = f'database "{database}"' if database else "the user's own database"
    return StoreUrl("postgresql", text, safe, None, f"{named} on {unquote(host) or 'the default host'}")
