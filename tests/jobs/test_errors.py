"""What errors say: what happened, which thing, the next step."""

import pytest

from kathikon_actors.jobs import errors
from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.jobs.queue import Queue


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            errors.UnknownQueue("mial", ["mail", "default"]),
            'no queue "mial" (known: default, mail). Did you mean "mail"?',
        ),
        (errors.UnknownQueue("zzz", ["mail"]), 'no queue "zzz" (known: mail).'),
        (errors.UnknownQueue("zzz", []), 'no queue "zzz" (known: none).'),
        (
            errors.UnknownWorker("charge_customr", ["charge_customer"]),
            'no worker "charge_customr" (known: charge_customer). Did you mean "charge_customer"?',
        ),
        (
            errors.UnknownWorker("zzz", ["charge"]),
            'no worker "zzz" (known: charge). Is its module imported, or named in App(workers=[...])?',
        ),
        (
            errors.UnknownOption("a job for charge", "priorty", ("priority", "tags")),
            'a job for charge has no option "priorty" (known: priority, tags). Did you mean "priority"?',
        ),
        (errors.InvalidJob("charge", "args.id", "is of type date"), "job for charge: args.id is of type date"),
        (errors.AlreadyExists("0190"), "a job with id 0190 exists already; its row is unchanged"),
        (errors.JobNotFound("0190"), "no job with id 0190; list jobs to see the ids there are"),
        (
            errors.InvalidState("0190", "waiting", "available", legal=["cancelled", "completed"]),
            "job 0190: waiting -> available is not a legal change (legal after waiting: cancelled, completed)",
        ),
        (
            errors.InvalidState("0190", "completed", "available"),
            "job 0190: completed -> available is not a legal change (completed is final)",
        ),
        (
            errors.QueueFull("mail", 10, 9),
            'queue "mail" holds 10 jobs, its max_depth is 9; insert again later',
        ),
        (
            errors.WaitTimeout("0190", 1.5, "executing"),
            "job 0190 did not end within 1.5 s (it is executing); it goes on, wait again",
        ),
        (
            errors.LeaseLost("node-1", 4),
            'node "node-1" lost its lease (epoch 4); it stops its jobs and joins again',
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_what_which_and_the_next_step(error: KathikonError, sentence: str) -> None:
    """The sentence that a user reads."""
    assert str(error) == sentence
    assert isinstance(error, KathikonError)


def test_a_taken_name_says_for_how_long() -> None:
    """Who started a second node of a name learns what to do."""
    text = str(errors.NodeNameTaken("node-1", 12.34))
    assert 'a node named "node-1" is alive' in text
    assert "12.3 s" in text
    assert "choose another name" in text


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.InvalidJob, ValueError),
        (errors.UnknownOption, TypeError),
        (errors.UnknownQueue, LookupError),
        (errors.UnknownWorker, LookupError),
        (errors.JobNotFound, LookupError),
        (errors.WaitTimeout, TimeoutError),
        (errors.BadConfiguration, ValueError),
    ],
)
def test_errors_are_also_the_built_in_ones_that_people_catch(kind: type[Exception], also: type[Exception]) -> None:
    """`except ValueError` finds a bad job, `except LookupError` an unknown name."""
    assert issubclass(kind, also)
    assert issubclass(kind, KathikonError)


def test_every_public_error_is_a_kathikon_error() -> None:
    """One base catches all."""
    kinds = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]
    assert all(issubclass(kind, KathikonError) for kind in kinds)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a" * 64, "ä", 5, None, "a\n"])
def test_a_queue_has_a_name_that_every_tool_can_write(name: object) -> None:
    """A bad name is refused when the queue is declared."""
    with pytest.raises(errors.BadConfiguration, match="a name is 1 to 63"):
        Queue(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["concurrency", "processes"])
@pytest.mark.parametrize("value", [0, -1, 1025, 2.0, True, "4", None])
def test_a_queue_has_possible_numbers(field: str, value: object) -> None:
    """The error names queue, field and what is legal."""
    with pytest.raises(errors.BadConfiguration, match=f'queue "mail": {field} is .*from 1 to 1024'):
        Queue("mail", **{field: value})  # type: ignore[arg-type]


def test_a_queue_is_plain_data() -> None:
    """Equal when declared alike, frozen, with its defaults."""
    assert Queue("mail") == Queue("mail", concurrency=10, processes=1)
    with pytest.raises(AttributeError):
        Queue("mail").name = "x"  # type: ignore[misc]
