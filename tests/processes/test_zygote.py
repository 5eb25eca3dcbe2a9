"""The process that forks workers: what it loads, what it leaves alone, how it ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from kathikon_actors.jobs import json
from kathikon_actors.jobs.worker import WorkerDefinition, definition_of, worker
from kathikon_actors.processes.control import Hold
from kathikon_actors.processes.frames import encode_frames
from kathikon_actors.processes.handle import WorkerProcess, Zygote, ZygoteDied, ZygoteFailed
from tests.processes.tools import ALL, PLAIN, alive, death, open_zygote, report, run, until

ROOT = Path(__file__).parents[2]


async def look_inside(process: WorkerProcess) -> dict[str, Any]:
    process.send([run(1, "who_am_i")])
    got = await report(process)
    assert got.result is not None, got
    value: dict[str, Any] = json.decode(got.result)
    return value


def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Path:
    """Write a module that can be imported here, and so in every process started from here."""
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


WORKER_TEXT = "from kathikon_actors import worker\n@worker\ndef task() -> str:\n    return __name__\n"


async def test_a_plain_worker_loads_neither_trio_nor_asyncpg() -> None:
    """A process for plain functions starts light."""
    code = """
import sys
import time
from contextlib import suppress
from kathikon_actors.processes import child, execution, plain, refs, start, zygote
print([name for name in ("trio", "asyncpg", "trio_asyncio", "cloudpickle", "asyncio") if name in sys.modules])
"""
    done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert done.stdout == b"[]\n"


async def test_a_worker_stands_apart_from_its_node() -> None:
    """A session of its own, no input, output joined to stderr, and no descriptor but its own."""
    async with open_zygote() as zygote:
        for _ in range(3):
            await zygote.fork("plain", 1, "sibling")
        process = await zygote.fork("plain", 1, "a-long-title-for-a-process")
        inside = await look_inside(process)
        assert (inside["pid"], inside["parent"], inside["session"]) == (process.pid, zygote.pid, process.pid)
        assert inside["stdin"] == "/dev/null" and inside["stdout_is_stderr"]
        assert inside["descriptors"] <= 6
        assert name_of(process.pid) == "a-long-title-fo"
        assert os.getsid(zygote.pid) == zygote.pid


async def test_two_workers_do_not_draw_the_same_numbers() -> None:
    """Chance is seeded anew after a fork."""
    random.seed(1)
    async with open_zygote() as zygote:
        drawn = set()
        for _ in range(3):
            process = await zygote.fork("plain", 1, "test")
            process.send([run(1, "chance")])
            drawn.add((await report(process)).result)
    assert len(drawn) == 3


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_spawned_workers_speak_the_same_protocol(kind: str) -> None:
    """Where no fork is wanted each worker is a fresh interpreter."""
    async with open_zygote(ALL, start_method="spawn") as zygote:
        process = await zygote.fork(kind, 1, "spawned")  # type: ignore[arg-type]
        inside = await look_inside(process)
        assert inside["parent"] == zygote.pid and inside["session"] == process.pid
        process.send([run(2, f"{kind}_outcome", what="raise")])
        assert (await report(process)).message == "ValueError: no such invoice"
        process.send([run(3, "leave", code=3)])
        _got, died = await death(process)
        assert died.exit.text == "exit status 3" and [seq for seq, _ in died.running] == [3]


async def test_without_preloading_the_workers_import_for_themselves() -> None:
    """The same workers, loaded in each process."""
    async with open_zygote(PLAIN, preload=False) as zygote:
        process = await zygote.fork("plain", 1, "test")
        process.send([run(1, "double", number=21)])
        assert (await report(process)).result == b"42"


async def test_a_module_that_cannot_be_imported_is_told_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reason, not a crash loop."""
    file = write_module(tmp_path, monkeypatch, "kathikon_sample_broken", WORKER_TEXT)
    import kathikon_sample_broken  # type: ignore[import-not-found]

    file.write_text("def half(:\n")
    with pytest.raises(ZygoteFailed, match=r"(?s)could not be imported:.*half\(:.*SyntaxError"):
        await Zygote.start([definition_of(kathikon_sample_broken.task)])
    file.write_text("import sys\nsys.exit('no licence')\n")
    with pytest.raises(ZygoteFailed, match="SystemExit: no licence"):
        await Zygote.start([definition_of(kathikon_sample_broken.task)])
    async with open_zygote([definition_of(kathikon_sample_broken.task), *PLAIN], preload=False) as zygote:
        process = await zygote.fork("plain", 1, "test")
        process.send([run(1, "task")])
        got = await report(process)
        assert (got.verdict, got.kind) == ("failed", "unknown_worker")
        assert got.message == 'worker "task" could not be imported: SystemExit: no licence'
        process.send([run(2, "double", number=1)])
        assert (await report(process)).result == b"2"


async def test_an_import_that_starts_threads_turns_preloading_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with threads cannot be forked safely; the note says which threads."""
    text = (
        "import threading, time, sys\n"
        "if 'kathikon_actors.processes.zygote' in sys.modules:\n"
        "    threading.Thread(target=time.sleep, args=(1000,), name='poller', daemon=True).start()\n" + WORKER_TEXT
    )
    write_module(tmp_path, monkeypatch, "kathikon_sample_threads", "")
    monkeypatch.delitem(sys.modules, "kathikon_actors.processes.zygote")
    (tmp_path / "kathikon_sample_threads.py").write_text(text)
    import kathikon_sample_threads  # type: ignore[import-not-found]

    async with open_zygote([definition_of(kathikon_sample_threads.task)]) as zygote:
        assert zygote.note is not None and "(poller)" in zygote.note
        process = await zygote.fork("plain", 1, "test")
        process.send([run(1, "task")])
        assert (await report(process)).result == b'"kathikon_sample_threads"'


async def test_a_worker_that_cannot_be_imported_goes_by_value() -> None:
    """A function inside a function has no name to import; it goes with what it refers to."""
    offset = 40

    def add(number: int) -> int:
        return number + offset + helper()

    def helper() -> int:
        return 2

    definition = definition_of(worker(name="by_value")(add))
    async with open_zygote([definition, *PLAIN]) as zygote:
        process = await zygote.fork("plain", 1, "test")
        process.send([run(1, "by_value", number=0)])
        assert (await report(process)).result == b"42"


async def test_a_worker_that_cannot_be_pickled_is_named() -> None:
    """The error says which, why, and the way out."""
    import threading

    lock = threading.Lock()

    def locked() -> bool:
        return lock.locked()

    definition: WorkerDefinition = definition_of(worker(name="locked")(locked))
    with pytest.raises(ZygoteFailed, match=r"worker locked .* not be sent by value .* top level of a module"):
        await Zygote.start([definition])


async def test_a_dead_zygote_takes_its_workers_along_and_serve_says_so() -> None:
    """Whoever supervises it starts another; nobody waits for a worker that nobody watches."""
    zygote = await Zygote.start(PLAIN)
    process = await zygote.fork("plain", 1, "test")
    process.send([run(1, "spin_forever")])
    await until(process.running)
    os.kill(zygote.pid, signal.SIGKILL)
    with trio.fail_after(5), pytest.raises(ZygoteDied, match="SIGKILL"):
        await zygote.serve()
    _got, died = await death(process)
    assert [seq for seq, _ in died.running] == [1]
    await until(lambda: not alive(process.pid))
    with pytest.raises(ZygoteDied):
        await zygote.fork("plain", 1, "test")
    await zygote.aclose()


async def test_a_dead_zygote_takes_along_what_workers_forked(tmp_path: Path) -> None:
    """The kernel kills the workers, the node what was in their process groups."""
    forked = tmp_path / "forked"
    zygote = await Zygote.start(PLAIN)
    process = await zygote.fork("plain", 1, "test")
    process.send([run(1, "fork_child_and_spin", path=str(forked))])
    await until(lambda: forked.exists() and forked.read_text())
    zygote.kill()
    await death(process)
    await until(lambda: not alive(process.pid) and not alive(int(forked.read_text())))
    await zygote.aclose()


async def test_a_zygote_killed_while_it_forks_is_a_typed_error() -> None:
    """`fork` does not hang on one that will never answer."""
    async with open_zygote_unserved() as zygote:
        os.kill(zygote.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:

            async def fork() -> None:
                with pytest.raises(ZygoteDied):
                    await zygote.fork("plain", 1, "test")

            nursery.start_soon(fork)
            await trio.testing.wait_all_tasks_blocked()
            zygote.kill()


def open_zygote_unserved() -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> Any:
        zygote = await Zygote.start(PLAIN)
        try:
            yield zygote
        finally:
            await zygote.aclose()

    return opened()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_sigterm_from_elsewhere_ends_neither_zygote_nor_worker(kind: str, tmp_path: Path) -> None:
    """A service manager that signals every process of the service does not cut short what the node lets finish."""
    release = tmp_path / "release"
    async with open_zygote(ALL) as zygote:
        process = await zygote.fork(kind, 1, "test")  # type: ignore[arg-type]
        process.send([run(1, "wait_plain" if kind == "plain" else "async_wait", path=str(release))])
        await until(process.running)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(process.pid, number)
            os.kill(zygote.pid, number)
        release.touch()
        assert (await report(process)).result == b'"released"'
        await zygote.fork("plain", 1, "test")


async def test_aclose_leaves_no_process() -> None:
    """Workers that run, spin, or idle are gone when it returns, and so is the zygote."""
    zygote = await Zygote.start(PLAIN)
    processes = [await zygote.fork("plain", 1, "test") for _ in range(3)]
    processes[0].send([run(1, "spin_forever")])
    await until(processes[0].running)
    with trio.fail_after(5):
        await zygote.aclose()
        await zygote.aclose()
    for pid in [zygote.pid, *(process.pid for process in processes)]:
        assert not alive(pid)
    for process in processes:
        await death(process)


NODE = """
import sys, trio
from pathlib import Path
from kathikon_actors import worker
from kathikon_actors.jobs.worker import definition_of
from kathikon_actors.processes.handle import Zygote
from tests.processes import tools

TIMES = 3

@worker
def in_main(number: int) -> int:
    return number * TIMES

async def main():
    zygote = await Zygote.start([definition_of(in_main), *tools.PLAIN])
    process = await zygote.fork("plain", 1, "test")
    process.send([tools.run(1, "in_main", number=14)])
    assert (await tools.report(process)).result == b"42"
    process.send([tools.run(2, "fork_child_and_spin", path=sys.argv[1])] if len(sys.argv) > 1 else [])
    try:
        print(zygote.pid, process.pid, flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote.serve)
            await trio.sleep(1000)
    finally:
        print("interrupted, worker alive:", tools.alive(process.pid), flush=True)
        await zygote.aclose()

status = 0
try:
    trio.run(main)
except* KeyboardInterrupt:
    status = 9
sys.exit(status)
"""


def start_node(tmp_path: Path, *args: str) -> subprocess.Popen[str]:
    script = tmp_path / "node.py"
    script.write_text(NODE)
    return subprocess.Popen(
        [sys.executable, str(script), *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


async def test_nothing_outlives_a_node_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the node ends zygote, workers, and what the workers forked, with nobody's help."""
    forked = tmp_path / "forked"
    with start_node(tmp_path, str(forked)) as node:
        assert node.stdout is not None
        pids = [int(word) for word in node.stdout.readline().split()]
        await until(lambda: forked.exists() and forked.read_text())
        pids.append(int(forked.read_text()))
        assert len(pids) == 3 and all(alive(pid) for pid in pids)
        node.kill()
        node.wait()
        await until(lambda: not any(alive(pid) for pid in pids))


async def test_ctrl_c_reaches_the_node_only(tmp_path: Path) -> None:
    """SIGINT to the node's process group: the worker lives until the node ends it."""
    with start_node(tmp_path) as node:
        assert node.stdout is not None
        pids = [int(word) for word in node.stdout.readline().split()]
        os.killpg(node.pid, signal.SIGINT)
        assert node.stdout.readline() == "interrupted, worker alive: True\n"
        assert node.wait() == 9
        assert not any(alive(pid) for pid in pids)


async def test_forks_wait_in_turn_for_a_zygote_that_does_not_read() -> None:
    """Several at once, when not one more request fits: all are forked as soon as it goes on."""
    async with open_zygote() as zygote:
        os.kill(zygote.pid, signal.SIGSTOP)
        hold = encode_frames([Hold(time.monotonic() + 1e6)])
        with suppress(BlockingIOError):
            while True:
                zygote._control.send(hold)
        forked: list[WorkerProcess] = []

        async def fork() -> None:
            forked.append(await zygote.fork("plain", 1, "test"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fork)
            nursery.start_soon(fork)
            nursery.start_soon(fork)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(zygote.pid, signal.SIGCONT)
        assert len({process.pid for process in forked}) == 3
        for process in forked:
            process.close()


async def test_a_handle_that_is_closed_late_takes_no_living_process_along() -> None:
    """The pid of a process that is gone may be another's by then, whose death must be told all the same."""
    async with open_zygote() as zygote:
        old = await zygote.fork("plain", 1, "old")
        old.kill()
        await until(lambda: old.exit is not None)
        new = await zygote.fork("plain", 1, "new")
        old.pid = new.pid
        old.close()
        new.kill()
        _got, died = await death(new)
        assert died.exit.signal == signal.SIGKILL
