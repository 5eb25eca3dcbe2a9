"""The census of the standard library: the same report from a plain loop, from a node, and from a node under fire."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from examples.census.app import app, plan_census
from examples.census.counting import LENGTHS, count_source, find_files, stdlib_root
from examples.census.report import render_report, write_files
from examples.census.run import Census, CensusFailed, run_census
from examples.stdlib_census import main
from kathikon_actors import open_node
from tests.support.servers import end_processes_of

PROJECT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "examples.stdlib_census"]

SOURCE = b'''\
"""A module."""
import os

class Outer:
    class Inner:
        @property
        def name(self):
            return [x for x in self if x if x > 1]

    async def walk(self):
        async for step in self:
            while step:
                step = step.next if step else None

def parse(text):
    def inner(): return 1
    try:
        match text:
            case "a": pass
            case _: pass
    except (ValueError, OSError):
        pass
    except KeyError:
        if text: return 1
        elif os: return lambda: 2
    return 3
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few files: one that does not parse, one of somebody else's."""
    root = tmp_path / "tree"
    for path, source in {
        "a.py": SOURCE,
        "pkg/__init__.py": b"",
        "pkg/deep/b.py": b"def f():\n    return 1\n",
        "pkg/old.py": b"print 'hello'\n",
        "pkg/notes.txt": b"def no(): ...\n",
        "site-packages/theirs.py": b"def theirs(): ...\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source)
    return root


@pytest.fixture
def part_of_stdlib(tmp_path: Path) -> Path:
    """150 files of the real library, the largest but for the very largest: kills and signals fall in its middle."""
    root = tmp_path / "stdlib"
    sizes = sorted(((size, path) for path, size in find_files(stdlib_root())), reverse=True)
    for _, path in sizes[20:170]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stdlib_root() / path, root / path)
    return root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """An embedded store of which no process may be left."""
    path = tmp_path / "store"
    yield f"embedded:{path}"
    assert end_processes_of(path) == []


def census(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


def written(out: Path) -> tuple[bytes, bytes]:
    """Report and chart; nothing half-written may lie beside them."""
    assert list(out.parent.glob(".*")) == []
    return out.read_bytes(), out.with_suffix(".svg").read_bytes()


def serial(root: Path, out: Path) -> tuple[bytes, bytes]:
    """What a plain loop writes."""
    assert main(["--serial", "--root", str(root), "--out", str(out)]) == 0
    return written(out)


# -- counting and report ----------------------------------------------------------------------------------------------


def test_counts_what_the_legend_says() -> None:
    """Functions, classes, branches and lengths of a source with one of everything."""
    count = count_source("x.py", SOURCE)
    assert (count["lines"], count["functions"], count["classes"]) == (26, 4, 2)
    # name: 1 for, 2 if; walk: async for, while, conditional; parse: 2 case, 2 except, if, elif
    assert count["branches"] == 3 + 3 + 6
    assert count["longest"] == [
        ("parse", 15, 12),
        ("Outer.walk", 10, 4),
        ("Outer.Inner.name", 7, 2),
        ("parse.inner", 16, 1),
    ]
    assert LENGTHS[:4] == (2, 5, 10, 20)
    assert count["lengths"] == [2, 1, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"print 1\n", "SyntaxError: "),
        (b"x = '\xff'\n", "SyntaxError: "),
        (b"x\0\n", "null bytes"),
        (b"(" * 500, "Error: "),
    ],
)
def test_a_source_that_does_not_parse_is_a_count_with_an_error(source: bytes, error: str) -> None:
    """Whatever `ast.parse` has against a source is noted, in words that can be written as UTF-8."""
    count = count_source("x.py", source)
    assert error in (count["error"] or "")
    assert (count["functions"], count["classes"], count["branches"]) == (0, 0, 0)


def test_a_source_that_warns_is_counted_in_silence() -> None:
    """Warnings are errors in this test run; an old source's unknown escape must not become one."""
    assert count_source("x.py", b"x = '\\d'\n")["error"] is None


def test_serial_lists_what_does_not_parse_and_says_nothing_of_the_machine(tree: Path, tmp_path: Path) -> None:
    """The report names the broken file, no path outside the tree, and is the same when written twice."""
    once = serial(tree, tmp_path / "one" / "census.md")
    assert once == serial(tree, tmp_path / "two" / "other_name.md")
    report = once[0].decode()
    assert "| files | 4 |" in report
    assert "- `pkg/old.py`: SyntaxError: Missing parentheses" in report
    assert "theirs" not in report
    assert str(tmp_path) not in report and "one" not in re.findall(r"\S+\.svg", report)
    assert "| 12 | `parse` | `a.py:15` |" in report


def test_the_order_in_which_files_were_counted_does_not_show() -> None:
    """Queues finish in any order; ties between files and between packages are broken by name."""
    sources = {"b/x.py": SOURCE, "a/x.py": SOURCE, "a/y.py": b"(", "c.py": b"(", "b/y.py": b"print 1"}
    rows = [count_source(path, source) for path, source in sources.items()]
    assert render_report("t", rows) == render_report("t", rows[::-1]) == render_report("t", rows[2:] + rows[:2])


def test_the_chart_is_well_formed_and_escapes_names(tree: Path, tmp_path: Path) -> None:
    """A directory may be called anything."""
    (tree / "a&b <i>").mkdir()
    (tree / "a&b <i>" / "x.py").write_bytes(b"x = 1\n" * 9)
    _, chart = serial(tree, tmp_path / "census.md")
    texts = [element.text for element in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]
    assert "a&b <i>" in texts


def test_an_empty_tree_has_a_report(tmp_path: Path) -> None:
    """No files, no functions, no division by zero."""
    (tmp_path / "tree").mkdir()
    report, chart = serial(tmp_path / "tree", tmp_path / "census.md")
    assert b"| files | 0 |" in report
    ET.fromstring(chart)


def test_writing_replaces_whole_files_and_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    """A writer killed in the middle leaves a temporary file; the next one takes it away."""
    (tmp_path / ".census.md.999.tmp").write_text("half")
    (tmp_path / "census.md").write_text("old")
    write_files(tmp_path / "census.md", "new", "<svg/>")
    assert written(tmp_path / "census.md") == (b"new", b"<svg/>")


# -- on a node --------------------------------------------------------------------------------------------------------


def test_the_command_on_a_node_writes_what_the_plain_loop_writes(tree: Path, tmp_path: Path, store: str) -> None:
    """`python -m examples.stdlib_census` on an embedded store ends with exit code 0 and the same bytes."""
    expected = serial(tree, tmp_path / "serial" / "census.md")
    out = tmp_path / "queued" / "census.md"
    done = census("--root", tree, "--out", out, "--store", store)
    assert done.returncode == 0, done.stderr
    assert "4 files" in done.stdout
    assert written(out) == expected


async def test_a_finished_run_is_done_and_an_unfinished_one_goes_on(tree: Path, tmp_path: Path) -> None:
    """Cancelled in the middle and called again it is the same run; after its report the next call begins anew."""
    task = Census(tree, tmp_path / "census.md")

    async with open_node(app) as node:

        async def runs() -> int:
            return len(await node.list(worker=plan_census.definition.name))

        with trio.CancelScope() as scope:
            await run_census(node, task, lambda done, _total, _share: scope.cancel() if done else None)
        assert scope.cancelled_caught and not task.out.exists()
        assert await run_census(node, task, lambda *_: None) == 4
        assert await runs() == 1
        first = written(task.out)
        assert await run_census(node, task, lambda *_: None) == 4
        assert await runs() == 2
        assert written(task.out) == first
        elsewhere = Census(tree, tmp_path / "elsewhere" / "census.md")
        assert await run_census(node, elsewhere, lambda *_: None) == 4
        assert written(elsewhere.out) == first
        assert len(await node.list(queue="files", state="completed")) == 3 * 4


async def test_a_report_that_cannot_be_written_fails_the_run(tree: Path, tmp_path: Path) -> None:
    """The last job's error comes to the one who ran it."""
    (tmp_path / "file").write_text("")
    async with open_node(app) as node:
        with pytest.raises(CensusFailed, match="write_report: discarded after 10 attempts"):
            await run_census(node, Census(tree, tmp_path / "file" / "census.md"), lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--store", "mongodb:x"], 78, 'no store is called "mongodb"'),
        (["--store", "postgresql://u@127.0.0.1:1/none"], 69, "127.0.0.1"),
        (["--root", "/no/such/directory"], 2, "is no directory"),
        (["--chaos", "--kills", "100"], 2, "at most 99"),
        (["--store", "memory:", "--out", "/dev/null/census.md"], 1, "write_report: discarded after 10 attempts"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_an_exit_code(
    arguments: list[str], code: int, words: str, tree: Path, tmp_path: Path
) -> None:
    """Bad input is refused without a traceback, and no report is written."""
    done = census("--root", tree, "--out", tmp_path / "census.md", *arguments)
    assert done.returncode == code
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "census.md").exists()


# -- under fire -------------------------------------------------------------------------------------------------------


def test_under_fire_it_writes_what_the_plain_loop_writes(part_of_stdlib: Path, tmp_path: Path, store: str) -> None:
    """Six worker processes and two nodes killed with SIGKILL in the middle change no byte, and nothing is left."""
    expected = serial(part_of_stdlib, tmp_path / "serial" / "census.md")
    out = tmp_path / "chaos" / "census.md"
    plan = ["--chaos", "--seed", 7, "--kills", 6, "--node-kills", 2]
    done = census(*plan, "--root", part_of_stdlib, "--out", out, "--store", store)
    assert done.returncode == 0, done.stderr
    assert "seed 7: 6 worker kills, 2 node kills, 3 node starts" in done.stdout
    assert "Traceback" not in done.stderr
    assert written(out) == expected


def test_kills_that_were_not_reached_are_a_failure(tmp_path: Path, store: str) -> None:
    """A chaos run that was over too early says so, though its report is right."""
    root, out = tmp_path / "tree", tmp_path / "chaos" / "census.md"
    root.mkdir()
    done = census("--chaos", "--kills", 1, "--node-kills", 0, "--root", root, "--out", out, "--store", store)
    assert done.returncode == 1
    assert "before all kills were done" in done.stderr
    assert written(out) == serial(root, tmp_path / "serial" / "census.md")


def test_stopped_by_a_signal_it_drains_and_the_same_command_goes_on(
    part_of_stdlib: Path, tmp_path: Path, store: str
) -> None:
    """SIGINT in the middle: exit code 130, no report, no process; then the rest, and the report of the plain loop."""
    out = tmp_path / "queued" / "census.md"
    where = ["--root", str(part_of_stdlib), "--out", str(out), "--store", store]
    with started_child(where) as child:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    assert end_processes_of(tmp_path / "store") == []
    assert not out.exists()
    done = census(*where)
    assert done.returncode == 0, done.stderr
    assert written(out) == serial(part_of_stdlib, tmp_path / "serial" / "census.md")


class started_child:  # noqa: N801 used as a function
    """A child of a chaos run that is in the middle of its files; leaving the block closes the parent's end."""

    def __init__(self, where: list[str]) -> None:
        self.where = where

    def __enter__(self) -> subprocess.Popen[bytes]:
        self.reading, writing = os.pipe()
        self.child = subprocess.Popen(
            [*COMMAND, *self.where, "--report-to", str(writing)], cwd=PROJECT, pass_fds=[writing]
        )
        os.close(writing)
        seen = b""
        while not re.search(rb"^\[([2-9]|\d\d+), 150,", seen, re.MULTILINE):
            data = os.read(self.reading, 65_536)
            assert data, "the child ended before it had counted two files"
            seen += data
        return self.child

    def __exit__(self, *_: object) -> None:
        os.close(self.reading)
        try:
            self.child.wait(30)
        finally:
            self.child.kill()
            self.child.wait()


def test_a_child_does_not_outlive_its_parent(part_of_stdlib: Path, tmp_path: Path, store: str) -> None:
    """Nobody reads its reports any more: it stops in order, and leaves no process."""
    out = tmp_path / "census.md"
    block = started_child(["--root", str(part_of_stdlib), "--out", str(out), "--store", store])
    with block as child:
        pass
    assert child.returncode == 130
    assert not out.exists()


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_whole_library_under_fire(seed: int, tmp_path: Path) -> None:
    """The real job with the kills that it stands for: 25 workers, 4 nodes."""
    expected = serial(stdlib_root(), tmp_path / "serial" / "census.md")
    out = tmp_path / "chaos" / "census.md"
    done = census("--chaos", "--seed", seed, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"seed {seed}: 25 worker kills, 4 node kills, 5 node starts" in done.stdout
    assert written(out) == expected
