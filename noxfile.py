"""The sessions of the gate: `nox` runs them all, on each Python that is found."""

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
    rooms = ("kathikon_actors", "supervisors", "examples", "benchmarks")
    session.run("flake8", "--select=ASYNC", "--extend-ignore=ASYNC109,ASYNC119,ASYNC910,ASYNC911", *rooms)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy --strict and basedpyright."""
    session.install("-e", ".[cli,embedded,test,lint]")
    session.run("mypy")
    session.run("basedpyright")


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
