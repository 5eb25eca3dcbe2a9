"""Counts summed up by top-level package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from examples.census.counting import LENGTHS, FileCount

__all__ = ["MODULES", "Package", "sum_up"]

MODULES = "(single modules)"
"""What files directly below the root are gathered under."""


@dataclass
class Package:
    """Sums over the files of one top-level package, or over all.

    Attributes:
        lengths: functions by class of length, see `LENGTHS`.
    """

    name: str
    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    branches: int = 0
    lengths: list[int] = field(default_factory=lambda: [0] * (len(LENGTHS) + 1))

    def add(self, row: FileCount) -> None:
        """Count one file in."""
        self.files += 1
        self.lines += row["lines"]
        self.functions += row["functions"]
        self.classes += row["classes"]
        self.branches += row["branches"]
        self.lengths = [mine + its for mine, its in zip(self.lengths, row["lengths"], strict=True)]

    @property
    def density(self) -> float:
        """Branches in a hundred lines."""
        return 100 * self.branches / self.lines if self.lines else 0.0


def sum_up(rows: Iterable[FileCount]) -> tuple[Package, list[Package]]:
    """Give the sum of all rows, and the packages, the one with the most lines first."""
    total = Package("all")
    packages: dict[str, Package] = {}
    for row in rows:
        top, slash, _ = row["path"].partition("/")
        name = top if slash else MODULES
        for package in (total, packages.setdefault(name, Package(name))):
            package.add(row)
    return total, sorted(packages.values(), key=lambda package: (-package.lines, package.name))
