"""From counts to the Markdown report. The order of the rows does not matter, nor do machine, time and file names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from examples.census.chart import draw_chart
from examples.census.counting import LONGEST_KEPT, FileCount
from examples.census.packages import Package, sum_up

__all__ = ["render_report", "write_files"]


def render_report(title: str, rows: Iterable[FileCount]) -> tuple[str, str]:
    """Give the report as Markdown and its chart as SVG."""
    rows = sorted(rows, key=lambda row: row["path"])
    total, packages = sum_up(rows)
    parts = [
        f"# {title}",
        _totals(total, rows),
        "The SVG file of the same name beside this report shows packages and function lengths.",
        "## By top-level package",
        _package_table(packages, total),
        f"## The {_words(LONGEST_KEPT)} longest functions",
        _longest_table(rows),
        "## Files that do not parse",
        _broken_list(rows),
        "## What was counted",
        _LEGEND,
    ]
    return "\n\n".join(parts) + "\n", draw_chart(title, total, packages)


def write_files(out: Path, report: str, chart: str) -> dict[str, int]:
    """Write `out` and the SVG beside it, each at once and whole: whoever reads one never sees half of it.

    Returns:
        The bytes of each file by name.

    Raises:
        OSError: the directory cannot be made, or a file not be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    written = {}
    # The chart first: a report that is there has its chart.
    for path, text in ((out.with_suffix(".svg"), chart), (out, report)):
        data = text.encode()
        for left_behind in path.parent.glob(f".{path.name}.*.tmp"):
            with suppress(FileNotFoundError):
                left_behind.unlink()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        written[path.name] = len(data)
    return written


_LEGEND = """\
- **Files**: every `.py` file, but those in `site-packages` and `dist-packages`, which are not the library's own.
- **Lines**: all of them, blank lines and comments included; of files that do not parse as well.
- **Functions**: `def` and `async def`, methods and nested functions included, lambdas not. A function's length is from
  its `def` to its last line, without decorators; what is nested in it counts as part of it.
- **Classes**: `class`, nested ones included.
- **Branches**: places where execution can go one way or another: `if` and `elif`, conditional expressions, `for`,
  `while`, `except`, `case`, and each `for` and `if` of a comprehension. `and`, `or` and `assert` are not counted.
- **Files that do not parse** were given to this interpreter's own `ast.parse`; most of them are there to test that
  very thing, or are written for Python 2."""


def _totals(total: Package, rows: list[FileCount]) -> str:
    broken = sum(row["error"] is not None for row in rows)
    parsed = total.files - broken
    mean = sum(0 if row["error"] else row["lines"] for row in rows) / total.functions if total.functions else 0.0
    return "\n".join(
        [
            "| | |",
            "|---|---:|",
            f"| files | {total.files:,} |",
            f"| of these parsed | {parsed:,} |",
            f"| lines | {total.lines:,} |",
            f"| functions | {total.functions:,} |",
            f"| classes | {total.classes:,} |",
            f"| branches | {total.branches:,} |",
            f"| branches in 100 lines | {total.density:.1f} |",
            f"| lines per function | {mean:.1f} |",
        ]
    )


def _package_table(packages: list[Package], total: Package) -> str:
    most = max((package.lines for package in packages), default=0)
    lines = [
        "| package | files | lines | | functions | classes | branches | in 100 lines |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for package in packages:
        bar = "█" * round(20 * package.lines / most) if most else ""
        lines.append(
            f"| {_code(package.name)} | {package.files:,} | {package.lines:,} | {bar} | {package.functions:,} "
            f"| {package.classes:,} | {package.branches:,} | {package.density:.1f} |"
        )
    lines.append(
        f"| **all** | **{total.files:,}** | **{total.lines:,}** | | **{total.functions:,}** | **{total.classes:,}** "
        f"| **{total.branches:,}** | **{total.density:.1f}** |"
    )
    return "\n".join(lines)


def _longest_table(rows: list[FileCount]) -> str:
    functions = [
        (int(lines), row["path"], int(line), str(name)) for row in rows for name, line, lines in row["longest"]
    ]
    if not functions:
        return "None."
    functions.sort(key=lambda function: (-function[0], *function[1:]))
    lines = ["| lines | function | where |", "|---:|---|---|"]
    for length, path, line, name in functions[:LONGEST_KEPT]:
        lines.append(f"| {length:,} | {_code(name)} | {_code(f'{path}:{line}')} |")
    return "\n".join(lines)


def _broken_list(rows: list[FileCount]) -> str:
    broken = [f"- {_code(row['path'])}: {row['error']}" for row in rows if row["error"] is not None]
    return "\n".join(broken) if broken else "None."


def _code(text: str) -> str:
    """Set text as code that stays in its table cell."""
    fence = "``" if "`" in text else "`"
    return fence + text.replace("|", "\\|") + fence


def _words(number: int) -> str:
    return {10: "ten"}.get(number, str(number))
