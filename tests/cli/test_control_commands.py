"""Commands that change and watch: on a database without a node, and beside a running node."""

from __future__ import annotations

import json
import signal
import uuid

import pytest
import trio

from kathikon_actors import App, Batch, Client, Cron, Job, Queue, StoreUnavailable, Unique, open_node, worker
from tests.cli.program import Directory, Ended
from tests.node import workers
from tests.support.nodes import far_node
from tests.support.waiting import eventually_sync


@worker(unique=Unique(states=("completed", "available", "scheduled", "executing", "retryable")), max_attempts=4)
def once() -> None: ...


app = App(queues=[Queue("default"), Queue("other")], workers=[*workers.WORKERS, once])


@pytest.fixture
def ask(place: Directory, postgres_dsn: str):  # type: ignore[no-untyped-def]
    """Runs a command in this process on a database with the schema, and no node."""

    async def make() -> None:
        async with Client(postgres_dsn):
            pass

    trio.run(make)
    return lambda *words: place.call(*words, store=postgres_dsn)


def test_jobs_are_inserted_and_changed_without_a_node(ask, place: Directory) -> None:  # type: ignore[no-untyped-def]
    """One by one; with the exit codes of the page."""
    made = ask("insert", "add", "--args", '{"a": 1}', "--queue", "q", "--tag", "x", "--priority", "3", "--json")
    assert made.code == 0 and (made.data["state"], made.data["priority"], made.data["tags"]) == ("available", 3, ["x"])
    first = made.data["id"]
    second = ask("insert", "add", "--queue", "q", "--schedule-in", "60").out.strip()
    unknown = ask("insert", "add")
    assert unknown.code == 2 and "no node has declared the worker on this store" in unknown.err
    assert ask("insert", "add", "--args", "[1]").code == 2
    assert ask("insert", "add", "--args", "{").code == 2
    assert ask("insert", "add", "--args", "{}", "--args-file", "-").code == 2

    cancelled = ask("job", "cancel", first, second, "--json")
    assert cancelled.code == 0 and [job["state"] for job in cancelled.data["changed"]] == ["cancelled", "cancelled"]
    again = ask("job", "cancel", first)
    assert again.code == 4 and "cancel is not possible" in again.err
    assert ask("job", "retry", first).out.split() == [first, "available"]
    partly = ask("job", "discard", first, str(uuid.uuid4()), "--json")
    assert partly.code == 5 and len(partly.data["errors"]) == 1
    assert ask("job", "retry", first, "--delay", "60").out.split() == [first, "scheduled"]
    made_again = ask("job", "rerun", second)
    assert made_again.code == 0 and made_again.out.split()[0] != second
    for action in ("cancel", "retry", "rerun", "discard"):
        assert ask("job", action, str(uuid.uuid4())).code == 3
        assert ask("job", action, "no-uuid").code == 3
        assert ask("job", action).code == 2


def test_a_file_of_jobs_is_inserted_and_bad_lines_are_named(ask, place: Directory) -> None:  # type: ignore[no-untyped-def]
    """The good ones are stored."""
    lines = [json.dumps({"a": n}) for n in range(2500)]
    (place.path / "jobs.jsonl").write_text("\n".join(lines))
    many = ask("insert", "add", "--args-file", "jobs.jsonl", "--queue", "q")
    assert many.code == 0 and len(many.out.split()) == 2500 and "2500 inserted, 0 refused" in many.err
    assert ask("jobs", "worker:add", "args.a:7", "--count").out == "1\n"
    (place.path / "some.jsonl").write_text('{"a": 1}\nnonsense\n\n[1]\n{"a": 2}\n')
    partly = ask("insert", "add", "--args-file", "some.jsonl", "--queue", "q", "--json")
    assert partly.code == 5 and partly.data["inserted"] == 2
    assert [error["line"] for error in partly.data["errors"]] == [2, 4]
    assert "line 2: not JSON: Expecting value in column 1" in partly.err.splitlines()
    assert 'line 4: not a JSON object; give arguments by name, as in {"a": 1}' in partly.err.splitlines()
    assert ask("insert", "add", "--args-file", "nowhere.jsonl", "--queue", "q").code == 2


def test_a_line_that_cannot_be_decoded_is_refused_alone(ask, place: Directory) -> None:  # type: ignore[no-untyped-def]
    """Wrong bytes, nesting too deep and too many digits, behind more lines than one transaction takes."""
    good = [b'{"a": %d}' % number for number in range(1_200)]
    deep = b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    bad = [b'{"a": "\xff"}', deep, b'{"a": ' + b"9" * 5_000 + b"}"]
    (place.path / "jobs.jsonl").write_bytes(b"\n".join([*good, *bad, b'{"a": -1}']))
    ended = ask("insert", "add", "--args-file", "jobs.jsonl", "--queue", "q", "--json")
    assert ended.code == 5 and ended.data["inserted"] == len(ended.data["ids"]) == 1_201
    assert [error["line"] for error in ended.data["errors"]] == [1_201, 1_202, 1_203]
    for words in ("line 1201: not UTF-8", "line 1202: not usable: it is nested too deep", "1201 inserted, 3 refused"):
        assert words in ended.err
    (place.path / "bad.jsonl").write_bytes(b"\xff")
    assert ask("insert", "add", "--args-file", "bad.jsonl", "--queue", "q").code == 2
    deepest = ask("insert", "add", "--args", '{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", "--queue", "q")
    assert deepest.code == 2 and "--args: not usable: it is nested too deep" in deepest.err


def test_queues_are_paused_scaled_and_resumed(ask) -> None:  # type: ignore[no-untyped-def]
    """Also without a node; a name that is not known is told with the nearest one."""
    ask("insert", "add", "--queue", "mail")
    assert ask("queues", "pause", "mail").code == 0
    assert ask("queues", "scale", "mail", "7").code == 0
    (mail,) = ask("queues", "--json").data
    assert (mail["queue"], mail["paused"], mail["concurrency"], mail["total"]) == ("mail", True, 7, 1)
    assert "paused" in ask("queues").out
    assert ask("queues", "resume", "mail", "--json").data == [{"queue": "mail", "paused": False, "concurrency": 7}]
    wrong = ask("queues", "pause", "mial")
    assert wrong.code == 3 and 'Did you mean "mail"' in wrong.err
    assert ask("queues", "scale", "mail", "2000").code == 2
    partly = ask("queues", "pause", "mial", "mail", "--json")
    assert partly.code == 5 and "mail: paused" in partly.err
    changed, refused = partly.data
    assert changed == {"queue": "mail", "paused": True, "concurrency": 7}
    assert refused["queue"] == "mial" and 'Did you mean "mail"' in refused["error"]
    assert ask("queues", "resume", "mail").code == 0
    idle = ask("queues", "drain", "mail")
    assert idle.code == 69 and "start one" in idle.err
    assert ask("queues", "drain").code == 69


def test_what_was_done_before_the_store_went_away_is_told(ask, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Exit code 5, and each of those that are left with the reason."""
    ids = [ask("insert", "add", "--queue", "mail").out.strip() for _ in range(3)]
    cancel, pause = Client.cancel, Client.pause

    async def cancel_first(client: Client, job_id: uuid.UUID | str) -> Job:
        if str(job_id) != ids[0]:
            raise StoreUnavailable("gone")
        return await cancel(client, job_id)

    async def pause_mail(client: Client, queue: str) -> None:
        if queue != "mail":
            raise StoreUnavailable("gone")
        await pause(client, queue)

    monkeypatch.setattr(Client, "cancel", cancel_first)
    monkeypatch.setattr(Client, "pause", pause_mail)
    partly = ask("job", "cancel", *ids, "--json")
    assert partly.code == 5 and [job["id"] for job in partly.data["changed"]] == ids[:1]
    assert [error["id"] for error in partly.data["errors"]] == ids[1:]
    assert ask("job", "cancel", *ids[1:]).code == 69
    paused = ask("queues", "pause", "mail", "post", "--json")
    assert paused.code == 5 and [entry["queue"] for entry in paused.data] == ["mail", "post"]
    assert paused.data[1]["error"] == "gone"


def test_top_and_nodes_without_a_node(ask) -> None:  # type: ignore[no-untyped-def]
    """Plain when piped, one look; JSON a line."""
    ask("insert", "add", "--queue", "mail")
    shown = ask("top")
    assert shown.code == 0 and shown.out.splitlines()[0].split()[:3] == ["queue", "on", "waiting"]
    assert ask("top", "--json").data["queues"][0]["by_state"] == {"available": 1}
    assert len(ask("top", "--json", "--times", "2", "--interval", "0.1").out.splitlines()) == 2
    assert ask("nodes").err == "no node has ever lived on this store\n"
    assert ask("nodes", "--json").data == []
    tree = ask("tree")
    assert tree.code == 69 and "no node lives on this store" in tree.err
    for command in ("top", "tree"):
        nobody = ask(command, "--node", "n1")
        assert nobody.code == 3 and 'no node "n1" is known on this store' in nobody.err


def test_crons_and_batches_are_listed_and_changed(ask, postgres_dsn: str) -> None:  # type: ignore[no-untyped-def]
    """Without a node."""
    assert "no cron entries" in ask("cron").err and "no batches" in ask("batches").err

    async def make() -> None:
        async with Client(postgres_dsn) as client:
            await client.crons.add(Cron("nightly", "0 3 * * *", workers.add.new(1)))
            async with client.open_batch(Batch(name="b")) as batch:
                await batch.insert(workers.add.new(1))

    trio.run(make)
    (entry,) = ask("cron", "--json").data
    assert (entry["name"], entry["expression"], entry["worker"]) == ("nightly", "0 3 * * *", "add")
    assert "nightly" in ask("cron").out
    assert ask("cron", "pause", "nightly").code == 0 and ask("cron", "--json").data[0]["paused"]
    assert ask("cron", "resume", "nightly").code == 0
    made = ask("cron", "run", "nightly")
    assert made.code == 0 and ask("job", "show", made.out.strip(), "--json").data["worker"] == "add"
    wrong = ask("cron", "pause", "nigthly")
    assert wrong.code == 3 and 'Did you mean "nightly"' in wrong.err
    no_text = ask("cron", "pause", "\udcff")
    assert no_text.code == 3 and no_text.err.startswith("error: no cron entry")
    assert ask("cron", "remove", "nightly").code == 0 and ask("cron", "--json").data == []
    (batch,) = ask("batches", "--json").data
    assert (batch["name"], batch["total"], batch["state"]) == ("b", 1, "running")
    assert "running" in ask("batches").out


def test_beside_a_running_node(place: Directory, postgres_dsn: str) -> None:
    """Its tree and its report live from memory; its jobs are changed, its queues drained, its workers are known."""
    answers: dict[str, Ended] = {}

    async def main() -> None:
        async with open_node(app, store=postgres_dsn, name="n1", shutdown_timeout=0.5) as node:
            later = await node.insert(workers.add.new(1), schedule_in=3600)
            commands = {
                "tree": ("tree",),
                "tree json": ("tree", "--json", "--node", "n1"),
                "nodes": ("nodes", "--json"),
                "top": ("top", "--node", "n1", "--json"),
                "cancel": ("job", "cancel", str(later.id)),
                "insert": ("insert", "add", "--args", '{"a": 3}'),
                "unknown": ("insert", "addd"),
                "missing": ("insert", "add"),
                "unique": ("insert", "once", "--json"),
                "again": ("insert", "once"),
                "drain": ("queues", "drain"),
                "pause": ("queues", "pause", "other"),
                "drain paused": ("queues", "drain", "other"),
                "queues": ("queues", "--json"),
                "count": ("jobs", "state:completed", "--count"),
            }
            for name, words in commands.items():
                answers[name] = await trio.to_thread.run_sync(
                    lambda words=words: place.run(*words, KATHIKON_STORE=postgres_dsn)
                )

    trio.run(main)
    codes = {name: ended.code for name, ended in answers.items() if ended.code}
    assert codes == {"unknown": 3, "missing": 2, "drain paused": 4}, {name: answers[name].err for name in codes}
    assert "producer" in answers["tree"].out
    assert answers["tree json"].data[0]["tree"]["children"][0]["id"] == "store"
    assert [node["name"] for node in answers["nodes"].data] == ["n1"] and answers["nodes"].data[0]["alive"]
    assert answers["top"].data["scope"] == "n1"
    assert answers["cancel"].out.split()[1] == "cancelled"
    assert 'Did you mean "add"' in answers["unknown"].err
    assert answers["missing"].err.startswith("error: add(a, b=...): missing a required argument: 'a' (see")
    assert answers["unique"].data["max_attempts"] == 4 and answers["unique"].err == ""
    assert answers["again"].out.strip() == answers["unique"].data["id"] and "there already" in answers["again"].err
    assert answers["count"].out == "2\n"
    other = next(queue for queue in answers["queues"].data if queue["queue"] == "other")
    assert other["paused"] and other["nodes"] == {"n1": 10}


def test_a_node_as_a_process_shows_its_tree_and_leaves_no_socket(embedded: Directory) -> None:
    """Found by the store's directory, from a directory below it too."""
    running = embedded.start("node", "shop:app", "--name", "here").ready()
    assert "queue plain" in embedded.call("tree").out
    made = embedded.call("insert", "add", "--args", '{"a": 1, "b": 2}')
    assert made.code == 0

    def is_done() -> bool:
        return embedded.call("jobs", "state:completed", "--count").out == "1\n"

    eventually_sync(is_done, "it ran")
    running.signal(15)
    assert running.ended().code == 0
    assert embedded.call("tree").code == 69


def test_trees_of_nodes_on_other_machines_are_drawn_too(ask, place: Directory, postgres_dsn: str) -> None:  # type: ignore[no-untyped-def]
    """Beside those of this machine; one that does not answer is told, and the others are shown."""
    with far_node(postgres_dsn, "distant") as distant:
        alone = ask("tree")
        assert alone.code == 0 and alone.out.splitlines()[0].startswith("node distant (rest_for_one")
        answers: list[Ended] = []

        async def main() -> None:
            async with open_node(app, store=postgres_dsn, name="near", shutdown_timeout=0.5):
                for words in (("--json",), ("--node", "distant"), ("--node", "nobody"), ()):
                    if not words:
                        distant.send_signal(signal.SIGSTOP)
                    answers.append(
                        await trio.to_thread.run_sync(
                            lambda words=words: place.run("tree", *words, KATHIKON_STORE=postgres_dsn)
                        )
                    )

        trio.run(main)
    both, named, unknown, partly = answers
    assert [entry["node"] for entry in both.data] == ["near", "distant"]
    assert both.data[1]["tree"]["children"][0]["id"] == "store"
    assert named.code == 0 and "queue default" in named.out and "near" not in named.out
    assert unknown.code == 3 and "living: distant, near" in unknown.err
    assert partly.code == 5 and partly.out.startswith("node near") and '"distant" did not answer' in partly.err
