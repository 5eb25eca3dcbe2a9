"""What apps, nodes and clients are made with is checked at once, and by its name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from kathikon_actors import (
    App,
    BadConfiguration,
    Client,
    Cron,
    InvalidJob,
    Queue,
    SyncClient,
    UnknownQueue,
    generate_key,
    open_node,
)
from kathikon_actors.store.datadir import Directory
from tests.node import workers

NO_SECONDS = [None, "x", math.nan, True, -1, 1e300, 10**400, 10**5000]
DSN = "postgresql://nowhere.invalid/x"


@pytest.mark.parametrize("option", ["lease", "shutdown_timeout", "insert_timeout", "snapshot_interval"])
@pytest.mark.parametrize("value", NO_SECONDS, ids=range(len(NO_SECONDS)))
async def test_a_time_of_a_node_that_is_none_is_refused_by_its_name(option: str, value: Any) -> None:
    """Before anything starts; an insert may wait for ever."""
    given = {option: value if not (option == "insert_timeout" and value == 1e300) else 0}
    with pytest.raises(BadConfiguration, match=f"open_node: {option} is .*; give seconds from"):
        async with open_node(workers.app, **given):
            pass


async def test_the_extremes_that_are_legal_work() -> None:
    """A stop without patience, an insert without end."""
    async with open_node(workers.app, shutdown_timeout=0, insert_timeout=math.inf, lease=8_640_000) as node:
        job = await node.insert(workers.add.new(1))
        assert (await node.wait(job.id, timeout=20)).result == 1
        with pytest.raises(InvalidJob, match="jobs are not several"):
            await node.insert_many(5)  # type: ignore[arg-type]
        async with node.open_batch() as batch:
            with pytest.raises(InvalidJob, match="jobs are not several"):
                await batch.insert_many(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"name": 5}, {"name": ""}, {"name": "\ud800"}, {"store": None}, {"store": 5}])
async def test_the_names_of_node_and_store_are_text(options: dict[str, Any]) -> None:
    """And no other."""
    with pytest.raises(BadConfiguration, match="node name|the store is"):
        async with open_node(workers.app, **options):
            pass


async def test_an_embedded_store_whose_directory_cannot_be_one_is_refused(tmp_path: Path) -> None:
    """A file, or what lies below one."""
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with pytest.raises(BadConfiguration, match="the embedded store cannot use .*; give another directory"):
            async with open_node(workers.app, store=f"embedded:{path}"):
                pass
    with pytest.raises(BadConfiguration, match="cannot use"):
        Directory(tmp_path / ("x" * 300)).hold()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"queues": None}, "queues is None; give a list of"),
        ({"queues": [5]}, "queues holds 5"),
        ({"workers": 5}, "workers is 5; give a list of"),
        ({"workers": [None]}, "None is not a worker"),
        ({"crons": None}, "crons is None; give a list of"),
        ({"crons": [5]}, "crons holds 5"),
        ({"children": 5}, "children is 5; give a list of"),
        ({"children": [None]}, "children holds None; give ChildSpec"),
        ({"telemetry": None}, "telemetry is None; give a list of"),
        ({"telemetry": [5]}, "telemetry: 5 is no handler"),
        ({"max_attempts": 10**12}, "max_attempts is 1000000000000; give a whole number from 1 to 2147483647"),
        ({"max_attempts": 0}, "give a whole number from 1"),
        ({"timeout": 10**5000}, "timeout is a value of type int that cannot be shown; give seconds above 0"),
        ({"timeout": math.nan}, "give seconds above 0"),
        ({"timezone": "x"}, "timezone is 'x'; give an IANA name"),
        ({"timezone": None}, "timezone is None; give an IANA name"),
        ({"encryption_keys": ""}, "encryption_keys is one key; give a list"),
        ({"encryption_keys": b""}, "encryption_keys is one key; give a list"),
        ({"encryption_keys": [""]}, r"encryption_keys\[0\] is no key"),
        ({"encryption_keys": 5}, "encryption_keys is of type int; give a list"),
    ],
)
def test_what_an_app_cannot_use_is_refused_by_its_name(options: dict[str, Any], told: str) -> None:
    """When it is made."""
    with pytest.raises(BadConfiguration, match=told):
        App(**{"queues": [Queue("default")], **options})


def test_what_an_app_can_use_is_kept() -> None:
    """Queues, workers and crons by place; a default queue by a name that there is."""
    cron = Cron("nightly", "@daily", workers.add.new(1))
    app = App([Queue("default")], [workers.add], [cron], timeout=math.inf, encryption_keys=None)  # type: ignore[arg-type]
    assert app.crons == {"nightly": cron} and app.keyring is None
    for wrong in (5, [], 10**5000):
        with pytest.raises(UnknownQueue):
            App([Queue("default")], default_queue=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Client, SyncClient])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        *(({"timeout": value}, "timeout is .*; give seconds from") for value in [*NO_SECONDS, math.inf, 0]),
        ({"timezone": "x"}, "timezone is 'x'; give an IANA name"),
        ({"timezone": None}, "timezone is None; give an IANA name"),
        ({"default_queue": "a b"}, "default_queue is 'a b'; a name is"),
        ({"default_queue": None}, "default_queue is None; a name is"),
        ({"dsn": None}, "the store is None; give"),
        ({"dsn": 5}, "the store is 5; give"),
        ({"encryption_keys": ""}, "encryption_keys is one key; give a list"),
        ({"encryption_keys": [""]}, r"encryption_keys\[0\] is no key"),
        ({"encryption_keys": 5}, "encryption_keys is of type int; give a list"),
    ],
)
def test_what_a_client_cannot_use_is_refused_by_its_name(
    kind: type[Client | SyncClient], options: dict[str, Any], told: str
) -> None:
    """When it is made, not at its first use."""
    with pytest.raises(BadConfiguration, match=told):
        kind(**{"dsn": DSN, **options})


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_no_keys_are_no_keys_and_an_iterator_of_keys_is_read_once(kind: type[Client | SyncClient]) -> None:
    """Only the absence of keys turns encryption off."""
    for keys in ((), None, []):
        kind(DSN, encryption_keys=keys)  # type: ignore[arg-type]
    kind(DSN, encryption_keys=iter([generate_key()]))
    with pytest.raises(BadConfiguration, match=r"encryption_keys\[1\] is no key"):
        kind(DSN, encryption_keys=iter([generate_key(), ""]))


@pytest.mark.parametrize("field", ["expression", "timezone"])
@pytest.mark.parametrize("value", [None, 5, []])
def test_a_cron_entry_of_other_types_is_refused(field: str, value: Any) -> None:
    """With the entry's name."""
    with pytest.raises(BadConfiguration, match='cron entry "x": .*give'):
        Cron(**{"name": "x", "expression": "@daily", "job": workers.add.new(1), field: value})
