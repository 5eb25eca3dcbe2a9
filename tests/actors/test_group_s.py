"""Checklist S 197 and 198, what they mean for actors in processes; `supervisors` has its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from kathikon_actors import CallTimeout, actor_spec
from supervisors import Killed, open_supervisor
from tests.actors.cast import Player
from tests.actors.tools import Stage
from tests.processes.tools import alive
from tests.support.waiting import eventually, eventually_sync


@pytest.mark.parametrize("how", ["busy loop", "blocking call", "SIGSTOP"])
async def test_s197_a_blocked_process_is_stopped_in_time(stage: Stage, how: str) -> None:
    """Callers have their timeout; the supervisor kills it within `shutdown`, whatever it does."""
    async with open_supervisor([actor_spec(Player, name="a", isolation="process", shutdown=0.2)]) as tree:
        ref = stage.system.ref("a", Player)
        pid = ref.pid
        assert pid is not None
        if how == "SIGSTOP":
            os.kill(pid, signal.SIGSTOP)
        elif how == "busy loop":
            ref.cast(Player.hang)
        else:
            ref.cast(Player.block, 60.0)
        with pytest.raises(CallTimeout):
            await ref.call(Player.echo, 1, timeout=0.05)
        began = time.monotonic()
        await tree.terminate_child("a")
        assert 0.2 <= time.monotonic() - began < 10
        assert tree.which_child("a").last_exit == Killed()
        await eventually(lambda: not alive(pid), "what was killed is gone")


async def test_s198_a_process_that_ignores_sigterm_is_dead_and_reaped(stage: Stage) -> None:
    """At `shutdown` and the kill; there is no zombie."""
    async with open_supervisor([actor_spec(Player, name="a", isolation="process", shutdown=0.1)]) as tree:
        ref = stage.system.ref("a", Player)
        pid = ref.pid
        assert pid is not None
        await ref.call(Player.deaf)
        os.kill(pid, signal.SIGTERM)
        assert await ref.call(Player.echo, 1) == 1
        ref.cast(Player.hang)
        await tree.terminate_child("a")
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), "it is reaped")


def test_s198_children_exit_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the node: its actors' processes are gone, one that hangs too."""
    program = textwrap.dedent("""
        import sys, trio
        from kathikon_actors import open_actor_system
        from tests.actors.cast import Player

        async def main():
            async with open_actor_system() as system:
                refs = [await system.start(Player, isolation="process") for _ in range(2)]
                refs[1].cast(Player.block, 60.0)
                print(*(ref.pid for ref in refs), flush=True)
                await trio.sleep_forever()

        trio.run(main)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as node:
        assert node.stdout is not None
        pids = [int(word) for word in node.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        node.kill()
        node.wait()
        eventually_sync(lambda: not any(alive(pid) for pid in pids), "they are gone")
