"""Type tests: the checkers find every planted error, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAM = HERE / "actor_calls.py"


def planted(checker: str) -> set[int]:
    """Give the lines in which `checker` must find an error."""
    lines = PROGRAM.read_text().splitlines()
    marks = {number: re.search(r"# error(?:: (\w+))?$", line) for number, line in enumerate(lines, 1)}
    return {number for number, mark in marks.items() if mark and mark[1] in {None, checker}}


def test_types_mypy_finds_the_planted_errors(tmp_path: Path) -> None:
    """With --strict."""
    pytest.importorskip("mypy", reason="in the extra `lint`")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(PROGRAM)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    found = {int(line) for line in re.findall(r"actor_calls\.py:(\d+): error:", done.stdout)}
    assert found == planted("mypy"), done.stdout + done.stderr


def test_types_basedpyright_finds_the_planted_errors() -> None:
    """In its standard mode."""
    program = shutil.which("basedpyright", path=str(Path(sys.executable).parent)) or shutil.which("basedpyright")
    if program is None:
        pytest.skip("basedpyright is in the extra `lint`")
    settings = HERE / "basedpyright.json"
    done = subprocess.run(
        [program, "--project", str(settings), "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    found = {
        entry["range"]["start"]["line"] + 1
        for entry in json.loads(done.stdout)["generalDiagnostics"]
        if entry["severity"] == "error"
    }
    assert found == planted("basedpyright"), done.stdout
