"""What every command takes: `--store`, `--json`, `--debug`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kathikon_actors.cli.output import Output

if TYPE_CHECKING:
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["DEFAULT_STORE", "Session", "common_options"]

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_STORE = "embedded:./.kathikon"
"""A private Postgres in the working directory."""


@dataclass
class Session:
    """One call of the command line.

    Attributes:
        store: the store's URL as given; it may hold a password.
        debug: a traceback is wanted.
    """

    store: str = field(default=DEFAULT_STORE, repr=False)
    debug: bool = False
    output: Output = field(default_factory=Output)

    @cached_property
    def url(self) -> StoreUrl:
        """The store's URL, understood.

        Raises:
            BadConfiguration: it is none.
        """
        from kathikon_actors.store.urls import parse_store_url

        return parse_store_url(self.store)


def common_options(function: Function) -> Function:
    """Add the options that every command takes; they are kept in the `Session`, which `click.pass_obj` gives."""
    options = (
        click.option(
            "--store",
            envvar="KATHIKON_STORE",
            metavar="URL",
            expose_value=False,
            callback=_set_store,
            help=f"embedded:PATH or postgresql://USER@HOST/DATABASE; default {DEFAULT_STORE}. A password is safer in "
            "the variable KATHIKON_STORE, which other users of the machine cannot see.",
        ),
        json_option,
        debug_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def _set_store(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).store = value


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).output.json = True


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).debug = True


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set_json,
    help="Print data as JSON on standard output.",
)
"""Print JSON."""

debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
