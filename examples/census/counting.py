"""Finding Python files and counting what is in one of them. Nothing here knows of jobs.

The counts depend on the file and the interpreter's version alone: not on paths, time, order or process.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypedDict

__all__ = ["LENGTHS", "LONGEST_KEPT", "FileCount", "count_file_at", "count_source", "find_files", "stdlib_root"]

LENGTHS: Final = (2, 5, 10, 20, 50, 100, 200)
"""Upper bounds, in lines, of the classes into which functions are sorted by length; the last class is open."""

LONGEST_KEPT: Final = 10
"""Functions that a file reports by name: enough for the ten longest of all files to be exact."""

_NOT_STDLIB: Final = frozenset({"__pycache__", "dist-packages", "site-packages"})
"""Directories below the library's that hold other people's packages, or no sources."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


class FileCount(TypedDict):
    """What was counted in one file: plain JSON, so that it is the same before and after a queue.

    A file that does not parse has its lines counted, and says in `error` why.

    Attributes:
        lengths: functions by class of length, see `LENGTHS`.
        longest: `(qualified name, line, lines)` of the longest functions, the longest first.
    """

    path: str
    lines: int
    functions: int
    classes: int
    branches: int
    lengths: list[int]
    longest: list[tuple[str, int, int]]
    error: str | None


def stdlib_root() -> Path:
    """Give the directory of the running interpreter's standard library; in a virtual environment its base's."""
    return Path(sysconfig.get_path("stdlib"))


def find_files(root: Path) -> list[tuple[str, int]]:
    """Find every Python file below `root`.

    Returns:
        `(path relative to root with forward slashes, bytes)`, sorted by path.

    Raises:
        OSError: a directory cannot be read.
    """
    return sorted(_walk(root))


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    def fail(error: OSError) -> None:
        raise error

    for directory, below, names in os.walk(root, onerror=fail):
        below[:] = [name for name in below if name not in _NOT_STDLIB]
        for name in names:
            if name.endswith(".py"):
                file = Path(directory, name)
                if file.is_file():
                    yield file.relative_to(root).as_posix(), file.stat().st_size


def count_file_at(root: Path, path: str) -> FileCount:
    """Read and count one file.

    Raises:
        OSError: it cannot be read. That is no property of its source, so it is no count.
    """
    return count_source(path, (root / path).read_bytes())


def count_source(path: str, source: bytes) -> FileCount:
    """Count one file's functions, classes and branches; `path` is only noted."""
    count = FileCount(
        path=path,
        lines=len(source.splitlines()),
        functions=0,
        classes=0,
        branches=0,
        lengths=[0] * (len(LENGTHS) + 1),
        longest=[],
        error=None,
    )
    try:
        with warnings.catch_warnings():
            # Old sources warn (an unknown escape in a string); a program that runs with -W error must count the same.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        problem = f"{type(error).__name__}: {error.msg}" + (f", line {error.lineno}" if error.lineno else "")
        count["error"] = _printable(problem)
    except (ValueError, RecursionError, MemoryError) as error:
        count["error"] = _printable(f"{type(error).__name__}: {error}")
    else:
        _count_tree(tree, count)
    return count


def _count_tree(tree: ast.Module, count: FileCount) -> None:
    longest: list[tuple[str, int, int]] = []
    # A stack, not recursion: the depth of somebody's expression is no reason to fail.
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        if isinstance(node, _FUNCTIONS):
            name = prefix + node.name
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            count["functions"] += 1
            count["lengths"][_length_class(lines)] += 1
            longest.append((name, node.lineno, lines))
            prefix = f"{name}."
        elif isinstance(node, ast.ClassDef):
            count["classes"] += 1
            prefix = f"{prefix}{node.name}."
        elif isinstance(node, _BRANCHES):
            count["branches"] += 1
        elif isinstance(node, ast.comprehension):
            count["branches"] += 1 + len(node.ifs)
        stack.extend((child, prefix) for child in ast.iter_child_nodes(node))
    longest.sort(key=lambda function: (-function[2], function[1], function[0]))
    count["longest"] = longest[:LONGEST_KEPT]


def _printable(text: str) -> str:
    """Messages quote the source, which may hold what cannot be written as UTF-8."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _length_class(lines: int) -> int:
    for index, bound in enumerate(LENGTHS):
        if lines <= bound:
            return index
    return len(LENGTHS)
