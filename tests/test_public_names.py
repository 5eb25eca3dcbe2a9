"""The names that programs use: all there, described, of the promised shape, and none in the way of a module."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import kathikon_actors
import supervisors
from kathikon_actors import testing
from supervisors import testing as tree_testing

PACKAGES = [kathikon_actors, supervisors, testing, tree_testing]
PROMISED: dict[ModuleType, str] = {
    supervisors: """
        ChildSpec open_supervisor run_supervisor supervisor_spec Supervisor ChildInfo ChildCounts TreeNode BRUTAL_KILL
        IGNORE open_dynamic_supervisor ChildRef open_task_supervisor Ok Exited open_partition_supervisor Registry Normal
        Shutdown Killed Crash Exit Backoff ChildStarted ChildTerminated StartFailed ShutdownError RestartLimitExceeded
        ChildUnkillable RestartLimitReached FailedToStart
    """,
    kathikon_actors: """
        Actor ActorRef ActorSystem open_actor_system actor_spec subtree_spec Monitor Down ExitSignal Timeout Timer
        defer_reply ReplyTo Snapshot call_many Producer Consumer ConsumerSupervisor
        worker Worker NewJob Snooze Fail Retry Discard Cancel App Queue open_node Node Client SyncClient Unique Rate
        Limit constant linear exponential Cron Batch Workflow Filter Job
    """,
    testing: "open_test_node perform_job assert_enqueued refute_enqueued all_enqueued drain fault",
    tree_testing: "crash wait_restarted",
}
PARAMETERS = {
    supervisors.ChildSpec: (
        "id start args kwargs restart shutdown type significant start_timeout backoff child_intensity restart_if"
    ),
    supervisors.open_supervisor: "children strategy max_restarts max_seconds auto_shutdown name on_exceed",
    supervisors.supervisor_spec: "id children restart shutdown",
    supervisors.open_dynamic_supervisor: "max_children max_restarts max_seconds extra_args name",
    supervisors.open_partition_supervisor: "spec partitions",
    supervisors.Backoff: "min max factor jitter reset_after",
    kathikon_actors.ActorSystem.start: "cls args name isolation restart shutdown link snapshot kwargs",
    kathikon_actors.ActorRef.call: "method args timeout kwargs",
    kathikon_actors.subtree_spec: "id children restart shutdown",
    kathikon_actors.Snapshot: "every interval",
    kathikon_actors.App: "queues workers crons middleware children encryption_keys timezone",
    kathikon_actors.Queue: (
        "name concurrency processes isolation fair rate_limit max_depth broadcast max_jobs_per_process max_memory "
        "paused"
    ),
    kathikon_actors.open_node: "app store name",
    kathikon_actors.Client: "dsn",
    kathikon_actors.SyncClient: "dsn",
    kathikon_actors.Client.tree: "node timeout",
    kathikon_actors.SyncClient.tree: "node timeout",
    kathikon_actors.Node.events: "kinds buffer",
    kathikon_actors.Client.events: "kinds buffer",
    kathikon_actors.SyncClient.events: "kinds buffer timeout",
    kathikon_actors.Node.children: "parent after limit",
    kathikon_actors.SyncClient.children: "parent after limit",
    kathikon_actors.Unique: "keys states period replace debounce",
    kathikon_actors.Rate: "n per burst by",
    kathikon_actors.Limit: "n by",
    kathikon_actors.Cron: "name expression job timezone",
    kathikon_actors.Batch: "on_complete on_success on_failure",
    kathikon_actors.Filter: "worker queue state tags args meta inserted_before inserted_after",
}
SHARED = """
    insert insert_many schedule get list wait status result history errors children counts cancel retry rerun discard
    purge cancel_by retry_by discard_by purge_by count_by report_progress report health nodes queues queue_status pause
    resume drain scale add_queue remove_queue open_batch batch batches retry_failed workflow crons tree events
"""
METHODS = {
    supervisors.Supervisor: """
        start_child terminate_child restart_child delete_child stop wait get_childspec which_children which_child
        count_children exit_reason name subscribe tree format_tree
    """,
    supervisors.TaskSupervisor: "async_nolink start_task async_stream",
    supervisors.PartitionSupervisor: "route",
    supervisors.Registry: "register unregister lookup whereis dispatch keys values count",
    kathikon_actors.Actor: "started handle_info terminate",
    kathikon_actors.ActorRef: "call cast send stop exit kill link unlink monitor alive pid name",
    kathikon_actors.ActorSystem: "start whereis supervisor send_after",
    kathikon_actors.Node: SHARED + "promote_now prune_now format_tree subscribe",
    kathikon_actors.Client: SHARED + "claim complete fail snooze extend",
    kathikon_actors.SyncClient: SHARED + "claim complete fail snooze extend",
    kathikon_actors.Job: "report_progress is_cancelled insert insert_many open_batch log",
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_can_be_imported_and_is_described(package: ModuleType) -> None:
    """Classes and functions by their docstring, aliases and constants by the words below them."""
    assert len(set(package.__all__)) == len(package.__all__)
    undescribed = [name for name in package.__all__ if not described(package, name)]
    assert undescribed == []
    assert not set(PROMISED[package].split()) - set(package.__all__)


def described(package: ModuleType, name: str) -> bool:
    value = getattr(package, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return bool((value.__doc__ or "").strip())
    if type(value).__module__.startswith((kathikon_actors.__name__, supervisors.__name__)):
        return bool((type(value).__doc__ or "").strip())
    return any(name in words_below(module) for module in modules_of(package) if name in vars(module))


def modules_of(package: ModuleType) -> list[ModuleType]:
    root = package.__name__.partition(".")[0]
    return [module for name, module in sys.modules.items() if name.partition(".")[0] == root]


def words_below(module: ModuleType) -> set[str]:
    """The names of a module whose assignment is followed by a string."""
    body = ast.parse(inspect.getsource(module)).body
    return {
        target.id
        for assigned, words in itertools.pairwise(body)
        if isinstance(assigned, ast.Assign | ast.AnnAssign)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
        and isinstance(words.value.value, str)
        for target in (assigned.targets if isinstance(assigned, ast.Assign) else [assigned.target])
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize("package", PACKAGES[:2], ids=lambda package: package.__name__)
def test_no_public_name_is_that_of_a_module(package: ModuleType) -> None:
    """Else an import of the module would replace it."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)


@pytest.mark.parametrize("where", PARAMETERS, ids=lambda where: where.__qualname__)
def test_what_is_called_takes_what_was_promised(where: object) -> None:
    """By these names, in this order; there may be more."""
    wanted = PARAMETERS[where].split()  # type: ignore[index]
    taken = [name for name in inspect.signature(where).parameters if name != "self"]  # type: ignore[arg-type]
    assert not set(wanted) - set(taken)
    positional = [
        name
        for name, parameter in inspect.signature(where).parameters.items()  # type: ignore[arg-type]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    ]
    assert wanted[: len(positional)] == positional[: len(wanted)]


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_what_an_object_can_do_is_there_and_described(kind: type) -> None:
    """Methods and properties with a docstring each; attributes are described by their class."""
    for name in METHODS[kind].split():
        found = inspect.getattr_static(kind, name)
        assert inspect.getdoc(found) or inspect.ismemberdescriptor(found), f"{kind.__name__}.{name}"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """As in every module, also where names are loaded when they are first used."""
    with pytest.raises(AttributeError, match="has no attribute 'Jobb'"):
        _ = kathikon_actors.Jobb
    assert set(kathikon_actors.__all__) <= set(dir(kathikon_actors))


def test_importing_the_package_loads_neither_trio_nor_a_driver() -> None:
    """A worker process for plain functions pays for nothing that it does not use."""
    code = "import sys, kathikon_actors; print([m for m in ('trio', 'asyncpg', 'supervisors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_found_where_it_is_said_to_be() -> None:
    """No home is listed twice or in vain."""
    homes = kathikon_actors._HOMES
    listed = [name for names in homes.values() for name in names]
    assert sorted(listed) == sorted(kathikon_actors.__all__)
    for home, names in homes.items():
        module = importlib.import_module(f"kathikon_actors.{home}")
        assert all(hasattr(module, name) for name in names)
