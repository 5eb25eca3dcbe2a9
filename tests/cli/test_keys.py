"""The command `keys`: a new key, and everything that is stored encrypted with the newest one."""

from __future__ import annotations

import base64

import trio

from kathikon_actors import App, CannotOpen, Client, Queue, generate_key, open_node, worker
from tests.cli.program import Directory

KEYED = """
import os
from kathikon_actors import App, Queue
from shop import add
app = App([Queue("plain")], [add], encryption_keys=os.environ["SHOP_KEYS"].split())
"""


def test_a_key_is_made_and_keys_are_rotated(place: Directory, postgres_dsn: str) -> None:
    """The keys themselves are shown by no command but the one that makes them; 5 tells that something was left."""
    made = place.run("keys", "generate")
    assert made.code == 0
    assert len(base64.b64decode(made.out)) == 32
    assert len(base64.b64decode(place.run("keys", "generate", "--json").data["key"])) == 32

    old, new, other = generate_key(), generate_key(), generate_key()
    (place.path / "keyed.py").write_text(KEYED)

    async def insert(key: str) -> str:
        async with Client(postgres_dsn, encryption_keys=[key]) as client:
            return str((await client.insert("add", {"a": 1, "b": 2}, queue="plain")).id)

    job_id = trio.run(insert, old)
    store = {"KATHIKON_STORE": postgres_dsn}
    done = place.run("keys", "rotate", "keyed:app", "--json", SHOP_KEYS=f"{new} {old}", **store)
    assert (done.code, done.data) == (0, {"jobs": 1, "crons": 0, "unreadable": 0, "pending": 0})
    left = place.run("keys", "rotate", "keyed:app", SHOP_KEYS=other, **store)
    assert left.code == 5
    assert "1 cannot be opened" in left.err
    assert not any(key in left.out + left.err + done.out + done.err for key in (old, new, other))
    none = place.run("keys", "rotate", "shop:app", **store)
    assert none.code == 78
    assert "encryption_keys" in none.err

    async def read(key: str) -> object:
        async with Client(postgres_dsn, encryption_keys=[key]) as client:
            job = await client.get(job_id)
            try:
                return job.args
            except CannotOpen:
                return None

    assert trio.run(read, new) == {"a": 1, "b": 2}
    assert trio.run(read, old) is None


def test_a_job_of_an_app_that_encrypts_is_inserted_with_its_keys(place: Directory, postgres_dsn: str) -> None:
    """Without them it is refused, not stored in plain; the lines of a file as well."""
    key = generate_key()
    (place.path / "keyed.py").write_text(KEYED)
    (place.path / "jobs.jsonl").write_text('{"a": 1, "b": 2}\n{"a": 1}\n')
    keys = {"KATHIKON_STORE": postgres_dsn, "SHOP_KEYS": key}

    async def declare() -> None:
        app = App([Queue("plain")], [add], encryption_keys=[key])
        async with open_node(app, store=postgres_dsn, name="n1"):
            pass

    @worker(queue="plain")
    def add(a: int, b: int) -> None: ...

    trio.run(declare)
    refused = place.run("insert", "add", "--args", '{"a": 1, "b": 2}', **keys)
    assert refused.code == 2 and "no encryption_keys here" in refused.err
    done = place.run("insert", "add", "--args", '{"a": 1, "b": 2}', "--keys-of", "keyed:app", "--json", **keys)
    assert done.code == 0 and done.data["queue"] == "plain"
    many = place.run("insert", "add", "--args-file", "jobs.jsonl", "--keys-of", "keyed:app", **keys)
    assert many.code == 5 and "line 2: add(a, b): missing a required argument: 'b'" in many.err
    assert "1 inserted, 1 refused" in many.err
