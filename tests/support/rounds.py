"""How often the tests of races run each of them: usually so often that it costs a few seconds, more on request."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["rounds"]

_WANTED: Final = os.environ.get("KATHIKON_TEST_ROUNDS")


def rounds(usual: int) -> int:
    """Give the rounds of a race: `usual`, or what the environment variable `KATHIKON_TEST_ROUNDS` says."""
    return usual if _WANTED is None else int(_WANTED)
