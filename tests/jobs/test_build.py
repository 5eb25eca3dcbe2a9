"""From a new job to its record: options, precedence, schedules."""

import datetime as dt
import math
import random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.build import Defaults, build_record
from kathikon_actors.jobs.errors import InvalidJob, UnknownOption, UnknownQueue
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.new_job import INSERT_OPTIONS, NewJob
from kathikon_actors.jobs.record import Job, Record, from_us
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.jobs.worker import WorkerDefinition, worker
from tests.jobs.make import NOW

ATHENS = ZoneInfo("Europe/Athens")
DEFAULTS = Defaults(queues={"default", "mail", "pdf"}, queue="default", max_attempts=4, timeout=60.0)


@worker
def plain(cents: int = 5) -> None: ...


@worker(queue="mail", max_attempts=7, timeout=9, priority=3, tags=["w"])
def special(cents: int = 5) -> None: ...


class NoOffset(dt.tzinfo):
    """A zone that does not say how far it is from UTC."""

    def utcoffset(self, _at: dt.datetime | None) -> None:
        return None


def build(new: NewJob, *, defaults: Defaults = DEFAULTS, now: int = NOW) -> Record:
    assert new.definition is not None
    return build_record(new, new.definition, defaults, IdSource(random.Random(1)), now)


def built(**options: Any) -> Record:
    return build(plain.new().options(**options))


def test_without_options_the_worker_comes_before_the_app() -> None:
    """What the worker does not say the app does."""
    first = build(plain.new(6))
    assert (first.queue, first.max_attempts, first.timeout, first.priority, first.tags) == ("default", 4, 60.0, 0, ())
    second = build(special.new())
    assert (second.queue, second.max_attempts, second.timeout, second.priority) == ("mail", 7, 9.0, 3)
    assert second.tags == ("w",)
    assert (first.state, first.scheduled_at, first.inserted_at, first.args) == ("available", NOW, NOW, b'{"cents":6}')
    assert (first.attempt, first.fence, first.dirty) == (0, -1, False)
    assert [entry["to"] for entry in Job(first).history] == ["available"]


@pytest.mark.parametrize(
    ("option", "call", "of_worker", "of_app"),
    [
        ("queue", "pdf", "mail", "default"),
        ("max_attempts", 1, 7, 4),
        ("timeout", 2.5, 9.0, 60.0),
        ("priority", -8, 3, 0),
        ("tags", ("c", "d"), ("w",), ()),
    ],
)
def test_the_call_comes_before_the_worker_and_the_worker_before_the_app(
    option: str, call: Any, of_worker: Any, of_app: Any
) -> None:
    """Precedence holds for each option, also when another option is given."""
    assert getattr(build(special.new().options(**{option: call})), option) == call
    assert getattr(build(special.new().options(meta={})), option) == of_worker
    assert getattr(build(plain.new().options(meta={})), option) == of_app


def test_with_and_without_options_a_job_is_the_same() -> None:
    """The fast path of a job without options gives what the long one gives."""
    for target in (plain, special):
        assert build(target.new()) == build(target.new().options(meta={}))


def test_later_options_override_earlier_ones_and_the_first_job_keeps_its_own() -> None:
    """`options` gives a new job each time."""
    first = plain.new().options(priority=1, tags=["a"])
    second = first.options(priority=2)
    assert (build(first).priority, build(second).priority, build(second).tags) == (1, 2, ("a",))


def test_none_takes_the_default() -> None:
    """An option that is `None` is as if it had not been given, where a default exists."""
    record = build(special.new().options(queue=None, max_attempts=None, timeout=None))
    assert (record.queue, record.max_attempts, record.timeout) == ("mail", 7, 9.0)


def test_meta_tags_result_and_id_are_kept() -> None:
    """What is given arrives in the record."""
    given_id = UUID("0190c0de-0000-7000-8000-000000000001")
    record = built(meta={"who": "me"}, tags=(tag for tag in "ab"), result="discard", id=str(given_id))
    assert (record.meta, record.tags, record.keep_result, record.id) == (
        b'{"who":"me"}',
        ("a", "b"),
        False,
        given_id.bytes,
    )
    assert built(id=given_id).id == given_id.bytes
    assert built(result="store").keep_result is True


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", -1),
        ("max_attempts", 2.0),
        ("max_attempts", True),
        ("max_attempts", "3"),
        ("max_attempts", 2**31),
        ("priority", None),
        ("priority", 1.5),
        ("priority", False),
        ("priority", 2**31),
        ("priority", -(2**31) - 1),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", True),
        ("timeout", "60"),
        ("timeout", 10**400),
        ("schedule_in", None),
        ("schedule_in", "5"),
        ("schedule_in", True),
        ("schedule_in", math.nan),
        ("schedule_in", math.inf),
        ("schedule_in", 101 * 365 * 86_400),
        ("schedule_in", 10**400),
        ("schedule_at", None),
        ("schedule_at", 1.0),
        ("schedule_at", "2024-01-01"),
        ("schedule_at", dt.date(2024, 1, 1)),
        ("tags", "vip"),
        ("tags", None),
        ("tags", 5),
        ("tags", [1]),
        ("tags", [""]),
        ("tags", ["a\0"]),
        ("tags", ["\ud800"]),
        ("meta", None),
        ("meta", [1]),
        ("meta", "x"),
        ("result", None),
        ("result", True),
        ("result", "keep"),
        ("id", None),
        ("id", 5),
        ("id", "not-a-uuid"),
        ("id", b"0123456789abcdef"),
        ("partition_key", 5),
        ("partition_key", "a\0"),
        ("partition_key", "\ud800"),
        ("depends_on", 5),
        ("schedule_at", dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-14)))),
        ("schedule_at", dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14)))),
        ("schedule_at", dt.datetime(2030, 1, 1, tzinfo=NoOffset())),
    ],
)
def test_a_bad_option_is_refused_naming_worker_and_option(option: str, value: Any) -> None:
    """Nothing is stored, and the error says which option of which worker is wrong."""
    with pytest.raises(InvalidJob) as raised:
        built(**{option: value})
    assert (raised.value.worker, raised.value.field) == ("plain", option)
    assert str(raised.value).startswith(f"job for plain: {option} ")


def test_what_is_not_json_is_refused_with_its_path() -> None:
    """Arguments and meta are checked to the leaves."""
    for new, path in (
        (plain.new({"id": dt.date(2024, 1, 1)}), "args.cents.id"),  # type: ignore[arg-type]
        (plain.new().options(meta={"a": [b""]}), "meta.a[0]"),
    ):
        with pytest.raises(InvalidJob) as raised:
            build(new)
        assert raised.value.field == path


@pytest.mark.parametrize("args", [None, 5, "x", [1], {1: 2}])
def test_arguments_are_a_dict_by_name(args: Any) -> None:
    """Also where nobody has bound them to a worker."""
    with pytest.raises(InvalidJob, match="args"):
        build(NewJob("plain", args, plain.definition))


def test_a_unique_job_is_the_same_with_and_without_options() -> None:
    """Whatever of it counts; meta that is not given is an empty one."""

    @worker(unique=Unique(keys=("worker", "meta")))
    def once() -> None: ...

    first, second = build(once.new()).extra, build(once.new().options(priority=1)).extra
    assert first is not None and second is not None
    assert first.unique_key == second.unique_key


def test_every_insert_option_is_checked_by_name() -> None:
    """A misspelt option is refused at once, with the nearest one."""
    with pytest.raises(UnknownOption, match=r'no option "priorty".*Did you mean "priority"') as raised:
        plain.new().options(priorty=1)
    with pytest.raises(UnknownOption, match='Did you mean "priority"'):
        build(NewJob("plain", {}, plain.definition, {"priorty": 1}))
    assert raised.value.option == "priorty"
    assert raised.value.known == INSERT_OPTIONS


@pytest.mark.parametrize("queue", ["mial", "", 5, ["mail"]])
def test_an_unknown_queue_is_refused_with_the_names_there_are(queue: Any) -> None:
    """Whatever was given as its name."""
    with pytest.raises(UnknownQueue) as raised:
        built(queue=queue)
    assert raised.value.known == ("default", "mail", "pdf")
    if queue == "mial":
        assert str(raised.value) == 'no queue "mial" (known: default, mail, pdf). Did you mean "mail"?'


def test_schedule_in_is_seconds_or_a_timedelta_from_now() -> None:
    """A job due later is scheduled, to the microsecond."""
    for value in (1.5, dt.timedelta(milliseconds=1500)):
        record = built(schedule_in=value)
        assert (record.state, record.scheduled_at, record.inserted_at) == ("scheduled", NOW + 1_500_000, NOW)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule_in": 0},
        {"schedule_in": -3600},
        {"schedule_in": dt.timedelta(days=-1)},
        {"schedule_at": from_us(NOW)},
        {"schedule_at": from_us(NOW - 1)},
        {"schedule_at": dt.datetime(1999, 1, 1)},
        {"schedule_at": dt.datetime.min.replace(tzinfo=dt.UTC)},
    ],
)
def test_a_time_in_the_past_or_now_is_available_at_once(options: dict[str, Any]) -> None:
    """Nothing is due before it was inserted."""
    record = built(**options)
    assert (record.state, record.scheduled_at) == ("available", NOW)


def test_schedule_in_and_schedule_at_exclude_each_other() -> None:
    """Given together neither wins: it is an error that names both."""
    with pytest.raises(InvalidJob, match="schedule_at is given together with schedule_in"):
        built(schedule_in=1, schedule_at=from_us(NOW))


def in_athens(*when: int, fold: int = 0) -> dt.datetime:
    """When a naive time in the app's zone is due."""
    defaults = Defaults(queues={"default"}, queue="default", timezone=ATHENS)
    at = dt.datetime(*when, fold=fold)  # type: ignore[arg-type, misc]
    return Job(build(plain.new().options(schedule_at=at), defaults=defaults)).scheduled_at


def test_a_naive_time_is_in_the_apps_zone_and_utc_by_default() -> None:
    """Winter and summer time of the zone count."""
    assert in_athens(2030, 1, 15, 12) == dt.datetime(2030, 1, 15, 10, tzinfo=dt.UTC)
    assert in_athens(2030, 7, 15, 12) == dt.datetime(2030, 7, 15, 9, tzinfo=dt.UTC)
    naive = dt.datetime(2030, 7, 15, 12)
    assert Job(built(schedule_at=naive)).scheduled_at == dt.datetime(2030, 7, 15, 12, tzinfo=dt.UTC)


def test_an_aware_time_keeps_its_own_zone() -> None:
    """The app's zone is for naive times only."""
    at = dt.datetime(2030, 7, 15, 12, tzinfo=ZoneInfo("America/New_York"))
    assert Job(built(schedule_at=at)).scheduled_at == dt.datetime(2030, 7, 15, 16, tzinfo=dt.UTC)


@pytest.mark.parametrize("minute", [0, 30, 59])
@pytest.mark.parametrize("fold", [0, 1])
def test_a_naive_time_in_the_spring_gap_is_an_error(minute: int, fold: int) -> None:
    """The clocks of Athens go from 3:00 to 4:00 on 31 March 2030: there is no 3:30."""
    with pytest.raises(InvalidJob, match=r"schedule_at is .* the clocks in Europe/Athens skip"):
        in_athens(2030, 3, 31, 3, minute, fold=fold)


def test_the_edges_of_the_gap_are_times() -> None:
    """The last moment before it and the first after it are one second apart."""
    before, after = in_athens(2030, 3, 31, 2, 59, 59), in_athens(2030, 3, 31, 4, 0, 0)
    assert after - before == dt.timedelta(seconds=1)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_naive_time_in_the_autumn_overlap_is_its_first_occurrence(fold: int) -> None:
    """The clocks go from 4:00 to 3:00 on 27 October 2030: 3:30 is taken in summer time."""
    assert in_athens(2030, 10, 27, 3, 30, fold=fold) == dt.datetime(2030, 10, 27, 0, 30, tzinfo=dt.UTC)


def test_a_naive_time_at_the_end_of_the_calendar_is_refused_by_name() -> None:
    """No bare OverflowError reaches the caller."""
    defaults = Defaults(queues={"default"}, queue="default", timezone=ZoneInfo("America/New_York"))
    with pytest.raises(InvalidJob, match="schedule_at"):
        build(plain.new().options(schedule_at=dt.datetime.max), defaults=defaults)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("ab7-\0\ud800é", max_size=5),
    st.binary(max_size=3),
    st.datetimes(),
    st.timedeltas(),
    st.lists(st.text("a\0\ud800é", max_size=2), max_size=2),
    st.builds(object),
)


@given(options=st.dictionaries(st.sampled_from(INSERT_OPTIONS), anything, max_size=4))
def test_whatever_is_given_a_job_is_built_or_refused_by_name(options: dict[str, Any]) -> None:
    """No value of any option gives another error than the typed ones, and what is built can be stored."""
    try:
        record = built(**options)
    except (InvalidJob, UnknownQueue):
        return
    assert record.state in ("available", "scheduled")
    assert record.scheduled_at >= record.inserted_at
    assert record.max_attempts >= 1
    assert record.timeout > 0
    assert -(2**63) < record.scheduled_at < 2**63
    Job(record).to_dict()


def test_the_definition_of_this_app_counts_not_the_one_of_the_caller() -> None:
    """A job that was made elsewhere by name takes the defaults of the worker known here."""

    def target() -> None: ...

    here = WorkerDefinition(target, name="far", module="m", qualname="q", queue="pdf", max_attempts=2)
    record = build_record(NewJob("far", {}), here, DEFAULTS, IdSource(), NOW)
    assert (record.worker, record.queue, record.max_attempts) == ("far", "pdf", 2)
