"""Commands that read a store: on a database, on a running node's, on an embedded one that is started for them."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import trio

from tests.cli.program import Directory, Ended, a_job, embed_jobs, store_jobs
from tests.support.records import MINUTE, now_us


def test_jobs_are_listed_filtered_counted_and_shown(place: Directory, postgres_dsn: str) -> None:
    """Newest first; the JSON of a job has every field of the record."""
    first, second, third = trio.run(
        store_jobs,
        postgres_dsn,
        "n",
        a_job("add", "plain", {"a": 1, "user": {"id": 7}}),
        a_job("nap", "async", {"seconds": 1}, tags=("vip", "x"), priority=5),
        a_job("add", "plain", {"a": 2}, state="scheduled", scheduled_at=now_us() + 60 * MINUTE),
    )

    def ask(*words: str) -> Ended:
        return place.call(*words, store=postgres_dsn)

    # The address may hold a password: the variable hides it from `ps`.
    everything = place.run("jobs", "--json", KATHIKON_STORE=postgres_dsn)
    assert everything.code == 0 and [job["id"] for job in everything.data] == [third, second, first]
    found = ask("jobs", "worker:add", "queue:plain", "args.user.id:7", "--json").data
    assert [job["id"] for job in found] == [first] and found[0]["args"]["user"] == {"id": 7}
    assert [job["id"] for job in ask("jobs", "tag:vip", "tag:x", "--json").data] == [second]
    limited = ask("jobs", "--limit", "2", "--json")
    assert [job["id"] for job in limited.data] == [third, second] and "newest 2" in limited.err
    assert ask("jobs", "state:available", "state:scheduled", "--count").out == "3\n"
    assert ask("jobs", "worker:add", "--count", "--json").data == {"count": 2}
    table = ask("jobs", "state:scheduled").out.splitlines()
    assert len(table) == 2 and table[1].split()[:4] == [third, "scheduled", "plain", "add"]
    nothing = ask("jobs", "queue:nobody")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no such jobs\n")

    shown = ask("job", "show", second, "--json").data
    assert (shown["id"], shown["priority"], shown["tags"], shown["node"]) == (second, 5, ["vip", "x"], "n")
    assert shown["history"][0]["event"] == "inserted"
    assert "inserted: new -> available" in ask("job", "show", second).out
    absent = ask("job", "show", str(uuid.uuid4()))
    assert absent.code == 3 and absent.err.startswith("error: no job with id")

    queues = ask("queues", "--json").data
    assert [(queue["queue"], queue["total"]) for queue in queues] == [("async", 1), ("plain", 2)]
    assert queues[1]["states"]["scheduled"] == queues[1]["states"]["available"] == 1
    assert queues[1]["states"]["completed"] == 0


def test_the_schema_is_checked_installed_and_printed(place: Directory, postgres_dsn: str) -> None:
    """A command that reads does not make the schema; what `sql` prints is what `install` does."""

    def ask(*words: str) -> Ended:
        return place.call(*words, store=postgres_dsn)

    reading = ask("queues")
    assert reading.code == 69 and "schema install" in reading.err
    before = ask("schema", "check", "--json")
    assert (
        before.code == 4 and before.data["version"] == 0 and before.data["pending"][0] == {"number": 1, "name": "jobs"}
    )
    script = place.run("schema", "sql").out
    asyncio.run(_execute(postgres_dsn, script))
    after = ask("schema", "check", "--json")
    assert after.code == 0 and after.data == {**before.data, "ok": True, "version": before.data["known"], "pending": []}
    assert ask("schema", "install", "--json").data == {"applied": [], "version": before.data["known"]}
    asyncio.run(_execute(postgres_dsn, "DROP SCHEMA kathikon CASCADE"))
    assert ask("schema", "install", "--json").data["applied"][0] == {"number": 1, "name": "jobs"}
    assert ask("queues", "--json").data == []


def test_an_embedded_server_is_started_for_a_command_and_gone_after_it(embedded: Directory) -> None:
    """The store is the default one, in the working directory."""
    (job,) = trio.run(embed_jobs, embedded.store, "n", a_job("add", "plain", {"a": 1, "b": 2}))
    ended = embedded.run("jobs", "--json")
    assert ended.code == 0 and [found["id"] for found in ended.data] == [job]
    assert embedded.processes() == []


def test_doctor_says_what_it_found(place: Directory) -> None:
    """On a machine that has everything all is well; a database that is not there is a failure with its code."""
    ended = place.run("doctor", "--json")
    assert ended.code == 0, ended.err
    checks = {check["check"]: check for check in ended.data["checks"]}
    assert ended.data["ok"] and {check["status"] for check in checks.values()} <= {"ok", "skipped", "warning"}
    assert {"python", "package trio", "postgres binaries", "trial server", "directory", "store"} <= set(checks)
    assert checks["trial server"]["status"] == "ok" and checks["store"]["status"] == "skipped"
    assert not place.store.exists()
    failed = place.call("doctor", "--json", "--store", "postgresql://ann:geheim@127.0.0.1:1/x")
    assert failed.code == 69 and not failed.data["ok"] and "geheim" not in failed.out + failed.err


async def _execute(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def test_the_command_line_shows_jobs_that_cannot_be_read(place: Directory, postgres_dsn: str) -> None:
    """Each with its raw text, among the others; a filter that looks into arguments passes them by."""

    async def insert() -> list[str]:
        connection = await asyncpg.connect(postgres_dsn)
        try:
            query = "SELECT kathikon.insert_job('add', $1, 'q')"
            return [str(await connection.fetchval(query, args)) for args in (*unreadable, '{"a": [1]}')]
        finally:
            await connection.close()

    unreadable = ('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", '{"a": ' + "9" * 5_000 + "}", '{"a": 1e400}')
    assert place.call("schema", "install", store=postgres_dsn).code == 0
    *bad, good = asyncio.run(insert())
    listed = place.call("jobs", "--json", store=postgres_dsn)
    assert listed.code == 0, listed.err
    assert {job["id"]: job["args"] for job in listed.data} == {
        good: {"a": [1]},
        **dict(zip(bad, unreadable, strict=True)),
    }
    assert len(place.call("jobs", store=postgres_dsn).out.splitlines()) == 5
    for job_id, args in zip(bad, unreadable, strict=True):
        shown = place.call("job", "show", job_id, store=postgres_dsn)
        assert (shown.code, args in shown.out) == (0, True), shown.err
    found = place.call("jobs", "args.a.0:1", "--json", store=postgres_dsn)
    assert (found.code, [job["id"] for job in found.data]) == (0, [good]), found.err
