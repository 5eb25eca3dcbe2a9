"""The chart of the report, as an SVG document written by hand: numbers in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from examples.census.counting import LENGTHS
from examples.census.packages import Package

__all__ = ["draw_chart"]

WIDTH = 1080
MARGIN = 36
TOP = 132
ROW = 22
SHOWN = 24
"""Packages with a bar of their own; the others share one."""
DENSEST = 10
DENSE_FROM = 1_000
"""Lines a package must have to be compared by branches: a handful of lines says little."""

INK, SOFT, FAINT, RULE = "#1f2a37", "#5b6775", "#8a95a3", "#e3e8ee"
BLUE, TEAL, AMBER, GREY = "#3a6ea5", "#2f9c95", "#d98a2b", "#b6c0cc"

STYLE = (
    "text{font-family:'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;font-size:12px;fill:" + INK + "}"
    ".title{font-size:24px;font-weight:600}.head{font-size:15px;font-weight:600}"
    ".big{font-size:20px;font-weight:600}.soft{fill:" + SOFT + "}.faint{fill:" + FAINT + ";font-size:11px}"
    ".end{text-anchor:end}.mid{text-anchor:middle}"
)


def draw_chart(title: str, total: Package, packages: Sequence[Package]) -> str:
    """Draw packages by size, functions by length, packages by branches.

    Args:
        title: the heading.
        total: the sum of everything.
        packages: the largest first.
    """
    bars = _with_others(packages)
    dense = sorted(
        (package for package in packages if package.lines >= DENSE_FROM),
        key=lambda package: (-package.density, package.name),
    )[:DENSEST]
    height = max(TOP + 40 + ROW * len(bars), TOP + 40 + 230 + 64 + ROW * max(len(dense), 1)) + 44
    drawing = _Drawing()
    drawing.text(MARGIN, 50, title, "title")
    _tiles(drawing, total)
    _package_bars(drawing, bars, MARGIN, TOP, 600)
    _length_bars(drawing, total, 690, TOP, WIDTH - MARGIN - 690)
    _density_bars(drawing, dense, 690, TOP + 40 + 230 + 24, WIDTH - MARGIN - 690)
    body = "\n".join(drawing.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


class _Drawing:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        marked = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{marked}>{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        # A count above nothing is seen, however small it is beside the largest.
        self.parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 1.0))}" height="{_n(max(height, 1.0))}" rx="2" '
            f'fill="{colour}"/>'
        )

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{RULE}" stroke-width="1"/>'
        )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tiles(drawing: _Drawing, total: Package) -> None:
    tiles = [
        (f"{total.files:,}", "files"),
        (f"{total.lines:,}", "lines"),
        (f"{total.functions:,}", "functions"),
        (f"{total.classes:,}", "classes"),
        (f"{total.branches:,}", "branches"),
    ]
    for index, (number, what) in enumerate(tiles):
        x = MARGIN + 130 * index
        drawing.text(x, 84, number, "big")
        drawing.text(x, 101, what, "soft")
    drawing.rule(MARGIN, 114, WIDTH - MARGIN, 114)


def _package_bars(drawing: _Drawing, packages: Sequence[Package], left: float, top: float, width: float) -> None:
    drawing.text(left, top + 12, "Lines by top-level package", "head")
    names, values = 150.0, 130.0
    scale = (width - names - values) / max((package.lines for package in packages), default=1)
    y = top + 30
    for package in packages:
        shared = package.name.startswith("(")
        drawing.text(left + names - 10, y + 13, _short(package.name, 22), "end soft" if shared else "end")
        length = max(scale * package.lines, 1.0)
        drawing.bar(left + names, y + 2, length, ROW - 6, GREY if shared else BLUE)
        files = f"{package.files:,} file" + ("s" if package.files != 1 else "")
        drawing.text(left + names + length + 8, y + 13, f"{package.lines:,}  ·  {files}", "faint")
        y += ROW


def _length_bars(drawing: _Drawing, total: Package, left: float, top: float, width: float) -> None:
    drawing.text(left, top + 12, "Functions by length", "head")
    drawing.text(left, top + 29, "up to so many lines", "faint")
    base, room = top + 30 + 196, 150.0
    most = max([*total.lengths, 1])
    step = width / len(total.lengths)
    for index, count in enumerate(total.lengths):
        x = left + step * index
        height = room * count / most
        if count:
            drawing.bar(x + 4, base - height, step - 8, height, TEAL)
        drawing.text(x + step / 2, base - height - 6, f"{count:,}", "mid faint")
        drawing.text(x + step / 2, base + 17, _class_name(index), "mid")
    drawing.rule(left, base + 0.5, left + width, base + 0.5)


def _density_bars(drawing: _Drawing, packages: Sequence[Package], left: float, top: float, width: float) -> None:
    drawing.text(left, top + 12, "Most branches in 100 lines", "head")
    drawing.text(left, top + 29, f"packages of {DENSE_FROM:,} lines or more", "faint")
    if not packages:
        drawing.text(left, top + 54, "none of that size", "soft")
        return
    names, values = 120.0, 50.0
    scale = (width - names - values) / max(0.1, *(package.density for package in packages))
    y = top + 40
    for package in packages:
        shared = package.name.startswith("(")
        drawing.text(left + names - 10, y + 13, _short(package.name, 17), "end soft" if shared else "end")
        length = scale * package.density
        drawing.bar(left + names, y + 2, length, ROW - 6, AMBER)
        drawing.text(left + names + length + 8, y + 13, f"{package.density:.1f}", "faint")
        y += ROW


def _class_name(index: int) -> str:
    return "more" if index == len(LENGTHS) else str(LENGTHS[index])


def _with_others(packages: Sequence[Package]) -> list[Package]:
    if len(packages) <= SHOWN + 1:
        return list(packages)
    others = Package(f"({len(packages) - SHOWN} smaller ones)")
    for package in packages[SHOWN:]:
        others.files += package.files
        others.lines += package.lines
    return [*packages[:SHOWN], others]


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
