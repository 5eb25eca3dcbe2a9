"""From `module:attribute` to the app, with a sentence for everything that can be wrong on the way."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import click

from kathikon_actors.cli.failures import place_of
from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean

if TYPE_CHECKING:
    from kathikon_actors.node.app import App

__all__ = ["AppNotLoaded", "load_app"]


class AppNotLoaded(BadConfiguration):
    """There is no app where the user said; the sentence tells what was found instead."""


def load_app(where: str) -> App:
    """Import an app; the working directory is searched first, as `python -m` does.

    What the module prints while it is imported goes to standard error, so that standard output holds data only.

    Args:
        where: `module:attribute`, such as `shop:app`.

    Raises:
        click.UsageError: `where` has another form.
        AppNotLoaded: no such module or attribute, it is no app, or the module's own code failed.
    """
    module_name, colon, attribute = where.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        guess = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise click.UsageError(f'"{where}" is a path; give the module by its name, as in {guess}:{attribute or "app"}')
    if not colon or not module_name or not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise click.UsageError(f'"{where}" is not MODULE:ATTRIBUTE; give it as in shop:app')
    module = _import(module_name)
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _no_attribute(module, name) from None
    return _checked(found, where, module)


def _import(name: str) -> ModuleType:
    directory = os.getcwd()  # noqa: PTH109 sys.path holds strings
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            known = _modules_beside(error.name)
            raise AppNotLoaded(
                f'no module "{error.name}" in {directory} or on Python\'s path.{did_you_mean(error.name, known)}'
            ) from None
        raise _broken(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit too
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> AppNotLoaded:
    text = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    place = place_of(error)
    return AppNotLoaded(f'module "{name}" cannot be imported: {text}{f" ({place})" if place else ""}')


def _modules_beside(name: str) -> list[str]:
    """Name the modules that lie where this one was looked for: of the parent package, or of the working directory."""
    parent = name.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", ()) if parent else (os.getcwd(),)  # noqa: PTH109
    prefix = f"{parent}." if parent else ""
    return [prefix + module.name for module in pkgutil.iter_modules(list(path))]


def _no_attribute(module: ModuleType, name: str) -> AppNotLoaded:
    apps = _apps_of(module)
    hint = did_you_mean(name, apps or [known for known in vars(module) if not known.startswith("_")])
    return AppNotLoaded(f'module "{module.__name__}" has no "{name}" (apps in it: {", ".join(apps) or "none"}).{hint}')


def _apps_of(module: ModuleType) -> list[str]:
    from kathikon_actors.node.app import App

    return [name for name, value in vars(module).items() if isinstance(value, App)]


def _checked(found: object, where: str, module: ModuleType) -> App:
    from kathikon_actors.node.app import App

    if isinstance(found, App):
        return found
    apps = _apps_of(module)
    hint = f" Did you mean {module.__name__}:{apps[0]}?" if apps else ""
    raise AppNotLoaded(f"{where} is of type {type(found).__name__}, not an App; give app = App(queues=[...]).{hint}")
