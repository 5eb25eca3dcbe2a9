"""What a worker declares, as data: the same for who has not its code."""

from __future__ import annotations

import inspect
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import declaration
from kathikon_actors.jobs.build import Defaults, build_record
from kathikon_actors.jobs.declaration import Declaration, declarations_of
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.parameters import Parameters, parameters_of
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.sealing import Keyring, generate_key
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.jobs.worker import Worker, worker

APP = Defaults({"default", "billing"}, "default", max_attempts=7, timeout=20.0, durability="snapshot")
OUTSIDE = Defaults({"default", "billing"}, "elsewhere")


@worker(
    queue="billing",
    max_attempts=5,
    timeout=60,
    priority=2,
    tags=["money"],
    durability="commit",
    unique=Unique(period=9),
)
def charge(job: Job, invoice_id: str, cents: int, note: str = "") -> None: ...


@worker(timeout=math.inf)
def plain(a: int = 1, *, b: int, **more: Any) -> None: ...


@worker
def taking(job: Job, **more: Any) -> None: ...


class Free(Worker):
    def perform(self, job: Job) -> None: ...


WORKERS = (charge, plain, taking, Free)


def declared(target: Any, defaults: Defaults = APP) -> Declaration:
    (found,) = declarations_of([target.definition], defaults)
    return found


def test_a_declaration_says_what_the_worker_says_and_else_what_the_app_says() -> None:
    """Nothing is left open for whoever inserts elsewhere, where other defaults hold."""
    assert declared(charge) == Declaration(
        name="charge",
        queue="billing",
        max_attempts=5,
        seconds=60.0,
        priority=2,
        tags=("money",),
        unique=Unique(period=9),
        parameters=Parameters(names=("invoice_id", "cents", "note"), required=("invoice_id", "cents")),
    )
    found = declared(taking)
    assert (found.queue, found.max_attempts, found.timeout, found.durability) == ("default", 7, 20.0, "snapshot")


@pytest.mark.parametrize("target", WORKERS)
def test_a_declaration_comes_back_from_json(target: Any) -> None:
    """An endless timeout too, which JSON has no word for."""
    found = declared(target)
    assert Declaration.decode(found.encode()) == found
    assert found.timeout == (target.definition.timeout or 20.0)
    assert Declaration.decode(b'{"later":1,' + found.encode()[1:]) == found  # a newer program wrote it
    with pytest.raises(ValueError, match="queue"):
        Declaration.decode(b'{"name":"x"}')


@pytest.mark.parametrize("target", WORKERS)
def test_a_job_by_name_is_the_one_that_the_node_makes(target: Any) -> None:
    """Whatever the defaults are where it is made."""
    args = {} if target in (taking, Free) else {"invoice_id": "I", "cents": 1} if target is charge else {"b": 2}
    ids = IdSource()
    mine = build_record(NewJob(target.definition.name, args), declared(target), OUTSIDE, ids, 1_000_000)
    nodes = build_record(NewJob(target.definition.name, args), target.definition, APP, ids, 1_000_000)
    nodes.id = mine.id
    assert mine == nodes


@pytest.mark.parametrize(
    ("target", "args", "text"),
    [
        (charge, {"invoice_id": "I1"}, "charge(invoice_id, cents, note=...): missing a required argument: 'cents'"),
        (charge, {}, "charge(invoice_id, cents, note=...): missing a required argument: 'invoice_id'"),
        (charge, {"invoice_id": "", "cents": 1, "cent": 2}, "got an unexpected keyword argument 'cent'"),
        (charge, {"invoice_id": "", "cents": 1, "job": 2}, "got an unexpected keyword argument 'job'"),
        (plain, {"a": 1}, "plain(a=..., b, **kwargs): missing a required argument: 'b'"),
        (taking, {"job": 2}, "taking(**kwargs): 'job' is given by the queue, not by the caller"),
        (plain, {"b": 1, "c": 2}, None),
        (Free, {"job": 1, "self": 2}, None),
    ],
)
def test_arguments_are_refused_in_the_words_of_the_node(target: Any, args: dict[str, Any], text: str | None) -> None:
    """Without the code there are no types, but the names and what is wrong with them are the same."""
    if text is None:
        declared(target).check(args)
        assert target.definition.bind((), args) == args
        return
    with pytest.raises(TypeError) as there:
        declared(target).check(args)
    with pytest.raises(TypeError) as here:
        target.definition.bind((), args)
    assert str(there.value).endswith(text)
    assert str(there.value).partition("): ")[2] == str(here.value).partition("): ")[2]


names = st.sampled_from(["a", "b", "c", "d"])
kinds = st.sampled_from(["required", "optional", "named", "named optional"])


@given(st.dictionaries(names, kinds), st.booleans(), st.sets(names))
def test_names_fit_exactly_when_python_would_bind_them(
    chosen: dict[str, str], more: bool, given_names: set[str]
) -> None:
    """For every signature whose arguments can be given by name."""
    order = {"required": 0, "optional": 1, "named": 2, "named optional": 2}
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY if kind.startswith("named") else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=0 if kind.endswith("optional") else inspect.Parameter.empty,
        )
        for name, kind in sorted(chosen.items(), key=lambda item: order[item[1]])
    ]
    if more:
        parameters.append(inspect.Parameter("more", inspect.Parameter.VAR_KEYWORD))
    args = dict.fromkeys(given_names, 1)
    problem = parameters_of(parameters, [], free_form=False).problem(args)
    assert problem == problem_of_python(inspect.Signature(parameters), args)


def problem_of_python(signature: inspect.Signature, args: dict[str, int]) -> str | None:
    try:
        signature.bind(**args)
    except TypeError as error:
        return str(error).replace("keyword-only argument", "argument")
    return None


def test_what_an_app_encrypts_by_its_keys_is_declared_as_encrypted() -> None:
    """Whoever inserts without the keys is refused instead of storing plain text."""
    pytest.importorskip("cryptography")
    keyed = msgspec.structs.replace(declared(charge), encrypt=True)
    app = Defaults(APP.queues, "default", 7, 20.0, keyring=Keyring([generate_key()]), durability="snapshot")
    assert declared(charge, app) == keyed

    @worker(encrypt=False)
    def open_one() -> None: ...

    assert declared(open_one, app).encrypt is False


def test_what_is_too_much_is_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The table stays small, whatever an app declares."""

    @worker(tags=["x" * 20_000])
    def long() -> None: ...

    @worker(tags=["x"], queue="\ud800")
    def odd() -> None: ...

    assert [one.name for one in declarations_of([long.definition, odd.definition, plain.definition], APP)] == ["plain"]
    monkeypatch.setattr(declaration, "MOST", 1)
    assert [one.name for one in declarations_of([charge.definition, plain.definition], APP)] == ["charge"]
    for name in ("long", "odd", "plain"):
        assert f"worker {name} cannot be inserted by name from outside" in caplog.text
