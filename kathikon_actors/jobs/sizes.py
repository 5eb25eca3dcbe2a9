"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_size"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_FACTOR = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TOO_LARGE = 2**63


def parse_size(value: object) -> int | None:
    """Give bytes: of a whole number as it is, of `"512MB"`, `"1.5 GiB"`, `"64k"` in powers of 1024; else `None`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 < value < _TOO_LARGE else None
    if not isinstance(value, str):
        return None
    match = _SIZE.fullmatch(value)
    if match is None:
        return None
    size = float(match[1]) * _FACTOR[match[2].upper()]
    return (int(size) or None) if size < _TOO_LARGE else None
