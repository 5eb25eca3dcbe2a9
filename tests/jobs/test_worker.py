"""Declaring workers, and binding arguments against their signatures."""

import functools
import inspect
from typing import Any

import pytest

from kathikon_actors.jobs.errors import BadConfiguration, UnknownOption
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.worker import Worker, WorkerDefinition, definition_of, registered, worker
from tests.jobs import string_annotations
from tests.jobs.make import record


@worker
def charge(invoice_id: str, cents: int) -> str:
    """Charge it."""
    return f"{invoice_id}: {cents}"


@worker(name="billing.refund", queue="billing", max_attempts=5, timeout=60, priority=-2, tags=["money"])
async def refund(job: Job, invoice_id: str, *, reason: str = "none", **more: Any) -> None: ...


def args_of(new: NewJob) -> dict[str, Any]:
    return new.args


# -- functions --------------------------------------------------------------------------------------------------


def test_a_decorated_function_is_called_as_before() -> None:
    """`@worker` changes nothing for who calls the function itself."""
    assert charge("INV-1", cents=5) == "INV-1: 5"
    assert (charge.__name__, charge.__doc__, charge.__module__) == ("charge", "Charge it.", __name__)
    assert inspect.signature(charge) == inspect.signature(charge.function)


def test_the_definition_has_what_was_declared() -> None:
    """Options without parentheses have their defaults, with them they are kept."""
    plain, full = charge.definition, refund.definition
    assert (plain.name, plain.queue, plain.max_attempts, plain.timeout, plain.priority) == (
        "charge",
        None,
        None,
        None,
        0,
    )
    assert (plain.is_async, plain.takes_job, plain.free_form, plain.owner) == (False, False, False, None)
    assert (full.name, full.queue, full.max_attempts, full.timeout) == ("billing.refund", "billing", 5, 60)
    assert (full.priority, full.tags, full.is_async, full.takes_job) == (-2, ("money",), True, True)
    assert (full.module, full.qualname) == (__name__, "refund")
    assert {plain, full} <= set(registered())


def test_arguments_are_given_by_place_or_name_and_kept_by_name() -> None:
    """Every way to call it gives the same job."""
    expected = {"invoice_id": "INV-1", "cents": 5}
    for new in (charge.new("INV-1", 5), charge.new("INV-1", cents=5), charge.new(cents=5, invoice_id="INV-1")):
        assert (new.worker, new.args, new.definition, new.given) == ("charge", expected, charge.definition, {})


def test_the_job_parameter_is_left_out_and_defaults_are_not_stored() -> None:
    """Only what was given is kept, further keywords among it."""
    assert args_of(refund.new("INV-1")) == {"invoice_id": "INV-1"}
    assert args_of(refund.new("INV-1", reason="late", colour="red")) == {
        "invoice_id": "INV-1",
        "reason": "late",
        "colour": "red",
    }


@pytest.mark.parametrize(
    ("given", "named", "problem"),
    [
        (("INV-1",), {}, "missing a required argument: 'cents'"),
        (("INV-1", 5, 6), {}, "too many positional arguments"),
        (("INV-1", 5), {"cent": 6}, "unexpected keyword argument 'cent'"),
        (("INV-1", 5), {"cents": 6}, "multiple values for argument 'cents'"),
        ((), {}, "missing a required argument: 'invoice_id'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_naming_the_worker(given: Any, named: Any, problem: str) -> None:
    """The error names the worker with its signature, and what is wrong."""
    with pytest.raises(TypeError) as raised:
        charge.new(*given, **named)
    assert str(raised.value).startswith("charge(invoice_id: str, cents: int)")
    assert problem in str(raised.value)


def test_a_keyword_only_argument_is_not_taken_by_place() -> None:
    """What the function refuses its worker refuses, at insert."""
    with pytest.raises(TypeError, match=r"billing\.refund.*too many positional"):
        refund.new("INV-1", "late")  # type: ignore[call-arg]


@pytest.mark.parametrize("taken", ["job"])
def test_an_argument_that_the_queue_gives_is_not_the_callers(taken: str) -> None:
    """With `**more` a second `job` would be let in here and fail only when it runs."""
    with pytest.raises(TypeError, match=f"'{taken}' is given by the queue"):
        refund.new("INV-1", **{taken: 1})


def test_parameters_that_cannot_be_given_by_name_are_refused() -> None:
    """Jobs keep arguments by name: positional-only and `*args` have none."""

    def positional(cents: int, /) -> None: ...

    def starred(*cents: int) -> None: ...

    for function, shown in ((positional, "cents: int"), (starred, r"\*cents: int")):
        with pytest.raises(BadConfiguration, match=f"worker {function.__name__}: parameter {shown} cannot be given"):
            worker(function)


def test_a_positional_only_job_is_fine() -> None:
    """The job is never given by name."""

    @worker
    def work(job: Job, /, cents: int) -> None: ...

    assert work.definition.takes_job
    assert args_of(work.new(5)) == {"cents": 5}


# -- who takes the job ------------------------------------------------------------------------------------------


def test_a_first_parameter_takes_the_job_by_annotation_or_by_bare_name() -> None:
    """Annotated with `Job` under any name, or named `job` without an annotation; nothing else."""

    def annotated(task: Job, cents: int) -> None: ...
    def named(job, cents: int) -> None: ...  # type: ignore[no-untyped-def]
    def second(cents: int, job: Job) -> None: ...
    def other(job: str) -> None: ...
    def keyword(*, job: Job) -> None: ...
    def nothing() -> None: ...

    takes = {function.__name__: worker(function).definition.takes_job for function in (annotated, named, second, other, keyword, nothing)}  # fmt: skip  # noqa: E501
    assert takes == {
        "annotated": True,
        "named": True,
        "second": False,
        "other": False,
        "keyword": False,
        "nothing": False,
    }


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("takes", True),
        ("by_module", True),
        ("beside_unknown", True),
        ("unknown_but_named", True),
        ("unknown_alias", False),
        ("a_string", False),
    ],
)
def test_string_annotations_are_resolved(name: str, takes: bool) -> None:
    """Also by module, beside one that exists for type checkers only, and as a guess where nothing can be known."""
    definition = getattr(string_annotations, name).definition
    assert definition.takes_job is takes
    assert list(definition.signature.parameters) == (["cents"] if takes else ["job", "cents"])


def test_a_wrapped_function_is_seen_through() -> None:
    """A decorator with `functools.wraps` between keeps the signature and the job."""

    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    def work(task: "Job", cents: int) -> None: ...

    definition = worker(logged(work)).definition
    assert definition.takes_job
    assert definition.bind((5,), {}) == {"cents": 5}


# -- options ----------------------------------------------------------------------------------------------------


def test_an_unknown_option_names_the_nearest() -> None:
    """A misspelt option of the decorator is refused where it stands."""
    with pytest.raises(UnknownOption, match=r'worker\(\) has no option "timout".*Did you mean "timeout"'):
        worker(timout=5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 2.5),
        ("max_attempts", True),
        ("max_attempts", 2**31),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "60"),
        ("timeout", True),
        ("timeout", float("nan")),
        ("timeout", 10**400),
        ("priority", 1.0),
        ("priority", True),
        ("priority", 2**31),
        ("tags", "vip"),
        ("tags", [1]),
        ("tags", [""]),
        ("tags", 5),
        ("queue", 5),
        ("name", 5),
        ("name", "a\0b"),
        ("name", 0),
        ("name", ""),
        ("name", []),
        ("name", "x" * 256),
        ("backoff", 5),
    ],
)
def test_an_impossible_option_is_refused_when_declared(option: str, value: Any) -> None:
    """Function and class form check alike, and name worker and option."""

    def target() -> None: ...

    with pytest.raises(BadConfiguration, match=f"worker .*{option}"):
        worker(**{option: value})(target)
    with pytest.raises(BadConfiguration, match=f"worker .*{option}"):
        type("Form", (Worker,), {option: value, "perform": lambda self: None})


def test_only_functions_are_decorated() -> None:
    """A class or a callable object is told what to do instead."""
    for target in (int, functools.partial(print), print):
        with pytest.raises(BadConfiguration, match="for a class derive from Worker"):
            worker(target)  # type: ignore[call-overload]


def test_definition_of_knows_workers_only() -> None:
    """A worker in any form has a definition; anything else is told how to become one."""
    assert definition_of(charge) is charge.definition
    assert definition_of(Nightly) is Nightly.definition
    assert definition_of(charge.definition) is charge.definition
    for target in (print, Worker, "charge", 5):
        with pytest.raises(BadConfiguration, match="is not a worker; decorate the function"):
            definition_of(target)


# -- the class form ---------------------------------------------------------------------------------------------


class Nightly(Worker):
    queue = "reports"
    max_attempts = 2
    timeout = 30.0
    priority = 4
    tags = ("night",)

    async def perform(self, job: Job) -> None: ...

    def backoff(self, attempt: int, error: BaseException) -> float:
        return 10.0 * attempt


class Mail(Worker):
    name = "mail.send"

    def perform(self, to: str, *, subject: str = "", **more: Any) -> str:
        return to


def test_a_class_has_its_attributes_as_options() -> None:
    """Name, queue, attempts, timeout, priority, tags and backoff come from the class."""
    made = Nightly.definition
    assert (made.name, made.queue, made.max_attempts, made.timeout) == ("Nightly", "reports", 2, 30.0)
    assert (made.priority, made.tags, made.is_async, made.owner) == (4, ("night",), True, Nightly)
    assert made.backoff is not None
    assert made.backoff(3, ValueError()) == 30.0
    assert (Mail.definition.name, Mail.definition.backoff, Mail.definition.is_async) == ("mail.send", None, False)


def test_perform_with_the_job_alone_takes_any_arguments_by_name() -> None:
    """The free form: `perform` reads what it wants from `job.args`."""
    assert Nightly.definition.free_form
    assert Nightly.new(day="monday", rows=5).args == {"day": "monday", "rows": 5}
    with pytest.raises(TypeError, match=r"Nightly takes its arguments by name; give Nightly\.new"):
        Nightly.new("monday")


def test_perform_with_arguments_binds_them() -> None:
    """`self` is left out, the rest is bound as with a function, and the error names the worker."""
    assert not Mail.definition.free_form
    assert Mail.new("me", subject="hi", cc="you").args == {"to": "me", "subject": "hi", "cc": "you"}
    with pytest.raises(TypeError, match=r"mail\.send.*missing a required argument: 'to'"):
        Mail.new()
    with pytest.raises(TypeError, match="'self' is given by the queue"):
        Mail.new("me", self=1)


def test_a_function_with_the_job_alone_takes_no_arguments() -> None:
    """The free form is the class form's; a function says what it takes."""

    @worker
    def work(job: Job) -> None: ...

    assert not work.definition.free_form
    with pytest.raises(TypeError, match="work"):
        work.new(day="monday")  # type: ignore[call-arg]


def test_a_subclass_that_inherits_perform_is_a_worker_of_its_own() -> None:
    """Another queue and another name, the same work: its jobs are not its parent's."""

    class Weekly(Nightly):
        queue = "slow"

    assert (Weekly.new().worker, Weekly.definition.queue, Weekly.definition.max_attempts) == ("Weekly", "slow", 2)
    assert Weekly.definition.owner is Weekly
    assert Nightly.new().worker == "Nightly"
    assert definition_of(Weekly) in registered()


def test_a_base_without_perform_is_no_worker() -> None:
    """A common base may hold options only; its subclasses are workers."""

    class Base(Worker):
        queue = "reports"

    class Real(Base):
        def perform(self) -> None: ...

    with pytest.raises(BadConfiguration, match="is not a worker"):
        Base.new()
    assert Real.definition.queue == "reports"


def test_perform_is_a_method() -> None:
    """A static or class method would lose its first parameter."""
    with pytest.raises(BadConfiguration, match="worker Odd: perform is"):

        class Odd(Worker):
            @staticmethod
            def perform(cents: int) -> None: ...


def test_a_definition_shows_where_it_is_from() -> None:
    """Its repr names module and place; so do those of workers and new jobs."""
    assert repr(charge.definition) == f"<WorkerDefinition charge ({__name__}:charge)>"
    assert repr(charge) == f"<worker charge of {__name__}>"
    assert (
        repr(charge.new("a", 1).options(priority=1))
        == "<NewJob charge {'invoice_id': 'a', 'cents': 1} {'priority': 1}>"
    )


def test_a_job_is_what_a_bound_worker_can_be_called_with() -> None:
    """What `bind` keeps calls the function by name, the job in front."""
    kept = refund.definition.bind(("INV-1",), {"reason": "late", "colour": "red"})
    inspect.signature(refund.function).bind(Job(record()), **kept)
    assert isinstance(refund.definition, WorkerDefinition)
