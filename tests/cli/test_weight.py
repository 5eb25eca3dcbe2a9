"""The command line is light: what a command does not need is not imported."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"trio", "trio_asyncio", "asyncpg", "rich", "msgspec", "cloudpickle", "kathikon_actors.node", "supervisors"}
MOST_CPU = 0.15
"""Seconds."""

CODE = """
import sys, time
from kathikon_actors.cli.group import run
code = run(sys.argv[1:])
print(time.process_time(), code, *sys.modules, file=sys.stderr)
"""


def call(*arguments: str) -> tuple[float, str, set[str]]:
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True)
    cpu, code, *modules = done.stderr.splitlines()[-1].split()
    return float(cpu), code, set(modules)


def test_help_imports_neither_trio_nor_a_database_driver() -> None:
    """Help and usage errors need click only."""
    for arguments in (["--help"], ["node", "--help"], ["jobs", "stat:x"]):
        _, code, modules = call(*arguments)
        assert code == ("2" if "stat:x" in arguments else "0")
        assert "click" in modules
        assert modules & HEAVY == set()


def test_help_costs_less_than_150_ms_of_processor_time() -> None:
    """Once is enough: others use the machine too, and a core that is shared counts more."""
    assert any(call("--help")[0] < MOST_CPU for _ in range(30))
