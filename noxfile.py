"""The sessions of the gate: `nox` runs them all, on each Python that is found."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types", "contracts"]


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and flake8-async."""
    session.install("-e", ".[cli,embedded,test,lint]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    # 103, 104: a supervisor and a worker process classify every ending. 109: `timeout` is the field's own word. 110:
    # what only polling shows. 114: wants every startable function listed. 119: async generators that are the
    # body of a context manager, and closed by it. 120: the checkpoint may well discard the error that was handled.
    # 123: what a nursery wrapped comes out as itself. 124: an empty callback. 128: `task_status` is handed on.
    ignored = "--extend-ignore=" + ",".join(f"ASYNC{n}" for n in (103, 104, 109, 110, 114, 119, 120, 123, 124, 128))
    rooms = ("kathikon_actors", "supervisors", "examples", "benchmarks")
    session.run("flake8", "--select=ASYNC1,ASYNC2", ignored, *rooms)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy --strict and basedpyright, and that they find planted errors."""
    session.install("-e", ".[cli,embedded,test,lint]")
    session.run("mypy")
    session.run("basedpyright", "--pythonpath", str(Path(session.bin) / "python"))
    session.run("python", "-m", "pytest", "-q", "tests/typing")


@nox.session
def contracts(session: nox.Session) -> None:
    """The rooms import downwards only."""
    session.install("-e", ".[cli,embedded,test,lint]")
    session.run("lint-imports")


@nox.session
def chaos(session: nox.Session) -> None:
    """The long runs that kill everything."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-m", "long", *session.posargs)
