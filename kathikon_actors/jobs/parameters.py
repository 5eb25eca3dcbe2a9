"""The names under which a worker takes its arguments: those of a job are checked against them, wherever it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Final

import msgspec

__all__ = ["Parameters", "parameters_of"]

_ANY: Final = "**kwargs"


class Parameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker's arguments are called; their types and defaults are its code's.

    Attributes:
        names: in the order of the signature.
        required: those without a default.
        any_name: other names are taken too.
        taken: names that the queue gives, so that a caller cannot.
    """

    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    any_name: bool = False
    taken: tuple[str, ...] = ()

    def problem(self, given: Mapping[str, object]) -> str | None:
        """Say what is wrong with these names, in the words of a call in Python; `None` when they fit."""
        for name in self.required:
            if name not in given:
                return f"missing a required argument: '{name}'"
        if not self.any_name:
            for name in given:
                if name not in self.names:
                    return f"got an unexpected keyword argument '{name}'"
        for name in self.taken:
            if name in given:
                return f"'{name}' is given by the queue, not by the caller"
        return None

    def __str__(self) -> str:
        shown = [name if name in self.required else f"{name}=..." for name in self.names]
        return f"({', '.join([*shown, _ANY] if self.any_name else shown)})"


def parameters_of(parameters: Sequence[Parameter], taken: Sequence[str], *, free_form: bool) -> Parameters:
    """Give the names of a signature.

    Args:
        parameters: each of which can be given by name, or takes all other names.
        taken: the names of those that the queue gives.
        free_form: there are none, and any name will do.
    """
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    any_name = len(named) < len(parameters)
    return Parameters(
        names=tuple(p.name for p in named),
        required=tuple(p.name for p in named if p.default is p.empty),
        any_name=any_name or free_form,
        taken=tuple(taken) if any_name else (),
    )
