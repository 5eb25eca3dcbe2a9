"""`node APP`: a node as a process, stopped, killed and started again."""

from __future__ import annotations

import json
import os
import signal

import pytest
import trio

from tests.cli.program import Directory, Running, a_job, embed_jobs, is_alive, store_jobs
from tests.support.waiting import eventually_sync

LONG = 3600.0


def began(place: Directory) -> list[int]:
    return [int(line.split()[1]) for line in place.log() if line.startswith("began")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_running_jobs_finish(place: Directory, postgres_dsn: str, number: signal.Signals) -> None:
    """It says so, exits with 0, and the job that ran is completed in the store."""
    (job,) = trio.run(store_jobs, postgres_dsn, "n1", a_job("resume", "async", {"flag": "flag"}))
    node = place.start("node", "shop:app", "--store", postgres_dsn, "--name", "n1", "--json").ready()
    eventually_sync(lambda: began(place), "the job runs")
    node.signal(number)
    said = f"{number.name}: stopping; 1 running, with 25 s to finish"
    eventually_sync(lambda: said in node.err, "the signal is answered")
    (place.path / "flag").touch()
    ended = node.ended()
    assert ended.code == 0 and ended.err.endswith("stopped\n")
    ready, stopped = map(json.loads, ended.out.splitlines())
    assert ready["event"] == "ready" and ready["node"] == "n1" and ready["pid"] == node.process.pid
    assert ready["queues"] == ["plain", "async"] and stopped == {"event": "stopped", "node": "n1"}
    assert place.processes() == []
    assert place.call("job", "show", job, "--json", store=postgres_dsn).data["state"] == "completed"


@pytest.mark.parametrize("option", ["--lease", "--shutdown-timeout"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300"])
def test_a_time_that_is_none_is_refused_before_anything_starts(place: Directory, option: str, seconds: str) -> None:
    """As every wrong option: the exit code is 2."""
    called = place.call("node", "shop:app", option, seconds)
    assert called.code == 2 and option in called.err


def test_what_does_not_finish_in_time_is_given_back_and_runs_again(place: Directory, postgres_dsn: str) -> None:
    """The stop is still graceful: exit code 0, and the attempt is not counted as failed."""
    (job,) = trio.run(store_jobs, postgres_dsn, "n1", a_job("nap", "async", {"seconds": LONG}))
    options = ("--store", postgres_dsn, "--name", "n1", "--shutdown-timeout", "0.2")
    node = place.start("node", "shop:app", *options).ready()
    eventually_sync(lambda: began(place), "the job runs")
    node.signal(signal.SIGTERM)
    assert node.ended().code == 0
    assert place.processes() == []
    found = place.call("job", "show", job, "--json", store=postgres_dsn).data
    assert (found["state"], found["errors"]) == ("available", [])


def test_the_second_signal_kills_workers_and_server_at_once_and_the_next_start_goes_on(embedded: Directory) -> None:
    """Also while a job blocks; nothing is left when the command ends, and no acknowledged job is lost."""
    done, blocked, waiting = trio.run(
        embed_jobs,
        embedded.store,
        "n1",
        a_job("add", "plain", {"a": 1, "b": 2}, priority=9),
        a_job("block", "plain", {"seconds": LONG}),
        a_job("resume", "async", {"flag": "flag"}),
    )
    node = embedded.start("node", "shop:app", "--name", "n1").ready()
    eventually_sync(lambda: len(began(embedded)) == 2, "both jobs run")
    eventually_sync(lambda: embedded.call("jobs", "--count", "state:completed").out == "1\n", "and no third one")
    node.signal(signal.SIGINT)
    eventually_sync(
        lambda: "SIGINT: stopping; 2 running, with 25 s to finish" in node.err, "the first signal is answered"
    )
    node.signal(signal.SIGINT)
    ended = node.ended()
    assert ended.code == 1 and ended.err.endswith("runs again when the node is back\n")
    # Workers are killed as the command ends, and gone a moment later.
    eventually_sync(lambda: not embedded.processes() and not any(map(is_alive, began(embedded))), "nothing is left")

    (embedded.path / "flag").touch()
    again = embedded.start("node", "shop:app", "--name", "n1", "--shutdown-timeout", "0.2").ready()
    eventually_sync(lambda: len(began(embedded)) == 4, "both jobs run again")
    eventually_sync(lambda: embedded.call("jobs", "--count", "state:completed").out == "2\n", "two are completed")
    states = {job["id"]: (job["state"], job["result"]) for job in embedded.call("jobs", "--json").data}
    assert states[done] == ("completed", 3) and states[waiting] == ("completed", "resumed")
    assert states[blocked][0] in ("available", "executing")
    stop(again)


def test_a_node_killed_by_sigkill_goes_on_with_its_jobs_when_it_starts_again(embedded: Directory) -> None:
    """At once, under its name, on its embedded store; the workers of the dead node die with it."""
    args = {"flag": "flag"}
    ids = trio.run(embed_jobs, embedded.store, "n1", *(a_job("resume", "async", args) for _ in range(3)))
    node = embedded.start("node", "shop:app", "--name", "n1").ready()
    eventually_sync(lambda: len(began(embedded)) == 3, "the jobs run")
    node.signal(signal.SIGKILL)
    assert node.ended().code == -signal.SIGKILL
    again = embedded.start("node", "shop:app", "--name", "n1", "-v").ready()
    eventually_sync(lambda: not any(map(is_alive, began(embedded)[:3])), "the first workers are gone")
    eventually_sync(lambda: len(began(embedded)) == 6, "the jobs run again")
    # A command uses the server of the running node.
    running = embedded.run("jobs", "--json", "--count", "state:available", "state:executing")
    assert (running.code, running.data) == (0, {"count": 3})
    (embedded.path / "flag").touch()
    eventually_sync(lambda: embedded.call("jobs", "--count", "state:completed").out == "3\n", "all are completed")
    assert {job["id"] for job in embedded.call("jobs", "state:completed", "--json").data} == set(ids)
    stop(again)
    assert "goes on with 3 jobs of its earlier life" in again.err


def test_a_second_node_in_the_directory_or_under_the_name_is_refused(embedded: Directory) -> None:
    """Exit code 4, and the first one is not disturbed."""
    first = embedded.start("node", "shop:app", "--name", "n1").ready()
    other = embedded.run("node", "shop:app", "--name", "n2")
    assert other.code == 4 and f"in use by process {first.process.pid}" in other.err
    dsn = f"postgresql://kathikon@/kathikon?host={embedded.store}/run"
    other = embedded.run("node", "shop:app", "--name", "n1", "--store", dsn)
    assert other.code == 4 and 'a node named "n1" is alive' in other.err and "Traceback" not in other.err
    assert len([line for line in other.err.splitlines() if not line.startswith("node of ")]) == 1
    assert first.process.poll() is None
    stop(first)


def test_a_signal_during_the_start_stops_it(place: Directory) -> None:
    """The cluster is half made, and nothing is left running."""
    node = place.start("node", "shop:app")
    eventually_sync(lambda: any(place.store.glob("data.*.tmp")), "the cluster is being made")
    node.signal(signal.SIGTERM)
    ended = node.ended()
    assert ended.code == 0 and ended.err.endswith("stopped before it was ready\n")
    eventually_sync(lambda: not place.processes(), "what initdb had started has seen its end")


def test_a_store_in_memory_needs_no_directory(place: Directory) -> None:
    """And leaves none."""
    stop(place.start("node", "shop:app", "--store", "memory:").ready())
    assert not place.store.exists()


def stop(node: Running) -> None:
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.ended().code == 0, node.err
