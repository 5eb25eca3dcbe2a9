"""An error is one sentence on standard error and an exit code that says what kind it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.jobs import errors
from kathikon_actors.store.binaries import PostgresNotFound
from kathikon_actors.store.datadir import DirectoryInUse, ServerFailed
from tests.cli.program import Directory

SECRET = "geheim"
NOBODY = f"postgresql://ann:{SECRET}@127.0.0.1:1/shop"

BAD = [
    pytest.param(("nod",), 2, ["No such command", "node"], id="unknown command"),
    pytest.param(("check",), 2, ["APP", "--help"], id="missing argument"),
    pytest.param(("jobs", "--limit", "0"), 2, ["--limit"], id="limit out of range"),
    pytest.param(("check", "shop"), 2, ['"shop"', "shop:app"], id="app without attribute"),
    pytest.param(("check", "shop.py:app"), 2, ["shop:app"], id="app as a path"),
    pytest.param(("check", "shpo:app"), 78, ['no module "shpo"', 'Did you mean "shop"?'], id="unknown module"),
    pytest.param(("check", "shop:ap"), 78, ['"ap"', "apps in it: app", 'Did you mean "app"?'], id="unknown attribute"),
    pytest.param(("check", "shop:add"), 78, ["not an App", "shop:app"], id="not an app"),
    pytest.param(("check", "broken:app"), 78, ["NameError", "'nothing'", "broken.py:3"], id="module that fails"),
    pytest.param(("check", "misspelt:app"), 78, ["SyntaxError", "misspelt.py:1"], id="module that does not parse"),
    pytest.param(("check", "needy:app"), 78, ['"needy"', "missing_library", "needy.py:1"], id="module that lacks one"),
    pytest.param(("check", "quits:app"), 78, ["SystemExit"], id="module that ends the program"),
    pytest.param(("node", "shpo:app"), 78, ['no module "shpo"'], id="node of an unknown module"),
    pytest.param(("node", "twice:app"), 78, ["two workers", "hello"], id="node of a wrong app"),
    pytest.param(("node", "shop:app", "--store", "mem:"), 78, ['"mem"', 'Did you mean "memory"?'], id="store scheme"),
    pytest.param(("node", "shop:app", "--name", ""), 78, ["node name"], id="node name"),
    pytest.param(
        ("node", "shop:app", "--store", NOBODY), 69, ["127.0.0.1", "nobody listens"], id="node without database"
    ),
    *(
        pytest.param((*words, wrong), 2, [words[-1]], id=f"{words[-1]} {wrong}")
        for words in (
            ("job", "retry", "x", "--delay"),
            ("top", "--interval"),
            ("demo", "--seconds"),
            ("node", "shop:app", "--lease"),
        )
        for wrong in ("nan", "inf", "1e300")
    ),
    pytest.param(("queues", "drain", "--timeout", "nan"), 2, ["--timeout"], id="drain timeout"),
    pytest.param(("jobs", "queue:\udcff"), 2, ["surrogate"], id="filter that is no text"),
    pytest.param(("insert", "add", "--queue", "\udcff"), 2, ["--queue"], id="queue that is no text"),
    pytest.param(("insert", "\udcff", "--queue", "q"), 2, ["WORKER"], id="worker that is no text"),
    pytest.param(("demo", "--record", "/nonexist/x.svg"), 2, ["--record", "/nonexist"], id="no place for a picture"),
    pytest.param(("jobs", "--store", "postgresql://h:99999/x"), 78, ['port "99999"'], id="port out of range"),
    pytest.param(("queues", "--store", "memory:"), 78, ["memory store"], id="memory store from outside"),
    pytest.param(("queues",), 69, ["no embedded store", ".kathikon"], id="no embedded store"),
    pytest.param(("schema", "check"), 69, ["no embedded store"], id="no embedded store to check"),
    pytest.param(("queues", "--store", NOBODY), 69, ["127.0.0.1", "nobody listens"], id="no database"),
    pytest.param(("jobs", "stat:x"), 2, ['"stat"', 'Did you mean "state"?'], id="unknown filter key"),
    pytest.param(("jobs", "state:complete"), 2, ['"complete"', 'Did you mean "completed"?'], id="unknown state"),
    pytest.param(("job", "show", "7"), 3, ['"7"', "UUID"], id="no id"),
]

MODULES = {
    "broken": "import os\n\nnothing\n",
    "misspelt": "def f(:\n",
    "needy": "import missing_library\n",
    "quits": "raise SystemExit(0)\n",
    "twice": "from kathikon_actors import *\n@worker(name='hello')\ndef a(): ...\n"
    "@worker(name='hello')\ndef b(): ...\napp = App([Queue('q')], [a, b])\n",
}


@pytest.mark.parametrize(("arguments", "code", "words"), BAD)
def test_a_bad_call_is_answered_with_one_sentence_and_its_code(
    place: Directory, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    """It names what and which, standard output stays empty, no traceback and no secret is shown, nothing is made."""
    for name, text in MODULES.items():
        (place.path / f"{name}.py").write_text(text)
    ended = place.run(*arguments, PYTHONDONTWRITEBYTECODE="1")
    assert ended.code == code, ended.err
    # A node begins by telling what it is about to do.
    lines = [line for line in ended.err.splitlines() if not line.startswith("node of ")]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert [word for word in words if word not in lines[0]] == []
    assert SECRET not in ended.err
    assert ended.out == ""
    assert sorted(entry.name for entry in place.path.iterdir()) == sorted(f"{name}.py" for name in (*MODULES, "shop"))


def test_debug_shows_the_traceback_before_the_sentence(place: Directory) -> None:
    """Both before and after the command's name."""
    for arguments in (("--debug", "check", "shpo:app"), ("check", "shpo:app", "--debug")):
        ended = place.run(*arguments)
        assert ended.code == 78
        assert "Traceback" in ended.err and ended.err.splitlines()[-1].startswith("error: no module")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidJob("w", "args", "is bad"), ExitCode.USAGE),
        (errors.UnknownOption("w", "o", []), ExitCode.USAGE),
        (errors.JobNotFound("x"), ExitCode.NOT_FOUND),
        (errors.UnknownQueue("q", []), ExitCode.NOT_FOUND),
        (errors.UnknownWorker("w", []), ExitCode.NOT_FOUND),
        (errors.AlreadyExists("x"), ExitCode.WRONG_STATE),
        (errors.InvalidState("x", "completed", "executing"), ExitCode.WRONG_STATE),
        (errors.NodeNameTaken("n", 1.0), ExitCode.WRONG_STATE),
        (errors.NodeStopping("n"), ExitCode.WRONG_STATE),
        (errors.QueueFull("q", 1, 1), ExitCode.WRONG_STATE),
        (DirectoryInUse(Path("/x"), 1, "y"), ExitCode.WRONG_STATE),
        (errors.StoreUnavailable("s"), ExitCode.UNAVAILABLE),
        (PostgresNotFound(()), ExitCode.UNAVAILABLE),
        (ServerFailed(Path("/x"), "y"), ExitCode.UNAVAILABLE),
        (errors.BadConfiguration("b"), ExitCode.BAD_CONFIGURATION),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (errors.WaitTimeout("x", 1.0, "available"), ExitCode.FAILED),
        (ValueError("v"), ExitCode.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException, code: ExitCode) -> None:
    """By the nearest class of the table; whatever is not in it is a failure."""
    assert exit_code_of(error) is code
