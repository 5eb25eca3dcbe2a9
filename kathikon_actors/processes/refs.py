"""How a worker definition gets to another process: by name where it can be imported, by value where it cannot."""

from __future__ import annotations

import importlib
import pickle
import sys
import traceback
from collections.abc import Iterable
from operator import attrgetter

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.middleware import Middleware
from kathikon_actors.jobs.worker import WorkerDefinition, definition_of
from kathikon_actors.processes.control import WorkerRef

__all__ = ["load_definition", "load_middleware", "load_table", "refer_to", "refer_to_middleware"]


def refer_to(definition: WorkerDefinition) -> WorkerRef:
    """Say where another process finds this worker.

    A function of a script (`__main__`), of a notebook, or from inside another function has no importable name: it
    goes by value, with what it refers to.

    Raises:
        BadConfiguration: it has no importable name and cannot be pickled.
    """
    name, module, qualname = definition.name, definition.module, definition.qualname
    if _importable(definition):
        return WorkerRef(name, module, qualname)
    import cloudpickle  # type: ignore[import-untyped]

    try:
        pickled: bytes = cloudpickle.dumps(definition)
    except Exception as error:  # whatever the user's own objects raise while they are pickled
        raise BadConfiguration(
            f"worker {name} ({module}:{qualname}) cannot be imported by name, and not be sent by value either: "
            f"{type(error).__name__}: {error}; define it at the top level of a module"
        ) from error
    return WorkerRef(name, module, qualname, pickled)


def refer_to_middleware(middleware: Middleware) -> WorkerRef:
    """Say where another process finds a middleware of the app.

    Raises:
        BadConfiguration: it has no importable name and cannot be pickled.
    """
    module, qualname = getattr(middleware, "__module__", ""), getattr(middleware, "__qualname__", "")
    name = qualname or repr(middleware)
    try:
        if module != "__main__" and attrgetter(qualname)(sys.modules[module]) is middleware:
            return WorkerRef(name, module, qualname)
    except (KeyError, AttributeError):
        pass
    import cloudpickle

    try:
        return WorkerRef(name, module, qualname, cloudpickle.dumps(middleware))
    except Exception as error:  # whatever the user's own objects raise while they are pickled
        raise BadConfiguration(
            f"middleware {name} cannot be imported by name, and not be sent by value either: "
            f"{type(error).__name__}: {error}; define it at the top level of a module"
        ) from error


def load_middleware(refs: Iterable[WorkerRef]) -> tuple[Middleware, ...]:
    """Find the app's chain in this process; whatever its modules raise when imported is raised."""
    return tuple(
        pickle.loads(ref.pickled)  # noqa: S301 the node's own bytes, over a descriptor only it holds
        if ref.pickled is not None
        else attrgetter(ref.qualname)(importlib.import_module(ref.module))
        for ref in refs
    )


def load_definition(ref: WorkerRef) -> WorkerDefinition:
    """Find the worker in this process; whatever its module raises when imported is raised."""
    if ref.pickled is not None:
        definition = pickle.loads(ref.pickled)  # noqa: S301 the node's own bytes, over a descriptor only it holds
        if not isinstance(definition, WorkerDefinition):
            raise TypeError(f"worker {ref.name} arrived as {type(definition).__name__}")
        return definition
    return definition_of(attrgetter(ref.qualname)(importlib.import_module(ref.module)))


def load_table(refs: Iterable[WorkerRef]) -> tuple[dict[str, WorkerDefinition], dict[str, str]]:
    """Load every worker that can be loaded.

    Returns:
        The definitions by worker name, and for those that failed the traceback by worker name.
    """
    loaded: dict[str, WorkerDefinition] = {}
    failed: dict[str, str] = {}
    for ref in refs:
        try:
            loaded[ref.name] = load_definition(ref)
        except BaseException as error:  # a module may raise anything, SystemExit too: it must not stop the others
            failed[ref.name] = "".join(traceback.format_exception(error))
    return loaded, failed


def _importable(definition: WorkerDefinition) -> bool:
    if definition.module == "__main__" or "<locals>" in definition.qualname:
        return False
    try:
        return definition_of(attrgetter(definition.qualname)(sys.modules[definition.module])) is definition
    except (KeyError, AttributeError, BadConfiguration):
        return False
