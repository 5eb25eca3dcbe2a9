"""Random trees and random lives: the real supervisors do what the pure model of OTP's rules says, step by step."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildSpec,
    Exit,
    RestartLimitReached,
    Shutdown,
    SupervisionError,
    Supervisor,
    TreeNode,
    open_supervisor,
    supervisor_spec,
)
from tests.supervisors.model import Inner, Leaf, ModelSupervisor, Spec, World
from tests.supervisors.tools import Diary, Puppet

STEPS = 40
EXAMPLES = 300

restarts = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
autos = st.sampled_from(["never", "never", "any_significant", "all_significant"])


class Names:
    """Gives each child of a tree its own name, as the tree is drawn."""

    def __init__(self) -> None:
        self.count = 0

    def fresh(self) -> str:
        self.count += 1
        return f"c{self.count}"


def draw_spec(draw: st.DrawFn, names: Names, depth: int, auto: str) -> Spec:
    restart = draw(restarts)
    significant = auto != "never" and restart != "permanent" and draw(st.booleans())
    if depth > 0 and draw(st.integers(0, 3)) == 0:
        return draw_inner(draw, names, depth - 1, restart, significant)
    name = names.fresh()
    # No two sums of delays coincide: what happens first is never a matter of chance.
    delay = 1.0 + (names.count * 0.6180339887) % 1.0 if draw(st.integers(0, 3)) == 0 else None
    return Leaf(name, restart, significant, delay)


def draw_inner(draw: st.DrawFn, names: Names, depth: int, restart: str, significant: bool) -> Inner:
    auto = draw(autos)
    name = names.fresh()
    return Inner(
        name,
        restart,
        significant,
        strategy=draw(strategies),
        max_restarts=draw(st.integers(0, 4)),
        max_seconds=draw(st.sampled_from([1.0, 5.0])),
        auto_shutdown=auto,
        children=tuple(draw_spec(draw, names, depth, auto) for _ in range(draw(st.integers(0, 4)))),
    )


@st.composite
def trees(draw: st.DrawFn) -> Inner:
    return draw_inner(draw, Names(), 2, "permanent", significant=False)


commands = st.tuples(
    st.sampled_from(
        ["crash"] * 5
        + ["return", "shutdown", *["sleep"] * 3, "fail", "fail", "start", "start", "terminate", "restart", "delete"]
    ),
    st.integers(0, 1000),
    st.integers(0, 1000),
)


class Real:
    """The real tree that stands for a model."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.diary = Diary()
        self.puppets: dict[str, Puppet] = {}

    def spec(self, spec: Spec) -> ChildSpec:
        options: dict[str, Any] = {"restart": spec.restart, "significant": spec.significant}
        if isinstance(spec, Inner):
            return supervisor_spec(spec.name, [self.spec(child) for child in spec.children], **options, **inner(spec))
        if spec.delay is not None:
            options["backoff"] = Backoff(spec.delay, spec.delay, jitter=0.0)
        puppet = self.puppets.setdefault(spec.name, Puppet(self.diary, spec.name))
        return puppet.spec(**options)


def inner(spec: Inner) -> dict[str, Any]:
    return {
        "strategy": spec.strategy,
        "max_restarts": spec.max_restarts,
        "max_seconds": spec.max_seconds,
        "auto_shutdown": spec.auto_shutdown,
    }


def picture(node: TreeNode) -> tuple[object, ...]:
    return (
        node.strategy,
        node.restarts_in_window,
        tuple(
            (child.id, child.state, child.total_restarts, picture(child) if child.strategy is not None else None)
            for child in node.children
        ),
    )


def find(tree: Supervisor, model: ModelSupervisor) -> Supervisor:
    """The real supervisor that stands for `model`."""
    if model.parent is None:
        return tree
    above, entry = model.parent
    found = find(tree, above).which_child(entry.spec.name).info
    assert isinstance(found, Supervisor)
    return found


async def outcome(call: Any, *args: Any) -> str:
    try:
        await call(*args)
    except SupervisionError as exc:
        return type(exc).__name__
    return "ok"


async def step(real: Real, tree: Supervisor, root: ModelSupervisor, command: tuple[str, int, int]) -> None:
    """Do one thing to the model and to the real tree."""
    verb, where, which = command
    world = root.world
    supervisors = list(root.supervisors())
    model = supervisors[where % len(supervisors)]
    if verb == "sleep":
        until = trio.current_time() + [0.5, 1.0, 2.0, 5.0, 6.0][which % 5]
        try:
            await trio.sleep_until(until)
            await wait_all_tasks_blocked()
        finally:
            # Also when the real tree ends meanwhile, which cancels the sleep.
            root.pass_time(until)
    elif verb == "start":
        names = ["extra1", "extra2", "extra3"]
        spec = Leaf(f"{model.spec.name}.{names[which % 3]}", ["permanent", "transient", "temporary"][which % 7 % 3])
        said = await outcome(find(tree, model).start_child, real.spec(spec))
        assert said == model.start_child(spec)
    elif model.entries:
        entry = model.entries[which % len(model.entries)]
        name = entry.spec.name
        if verb in {"terminate", "restart", "delete"}:
            said = await outcome(getattr(find(tree, model), f"{verb}_child"), name)
            assert said == getattr(model, f"{verb}_child")(name)
        elif isinstance(entry.spec, Leaf):
            if verb == "fail":
                world.failures[name] = 1 + where % 3
                real.puppets[name].failures = [OSError("start") for _ in range(world.failures[name])]
            elif entry.running:
                errors = {"crash": ValueError("crash"), "return": None, "shutdown": Exit(Shutdown("done"))}
                world.diary.append(f"!{name}")
                real.puppets[name].end(errors[verb])
                model.dies(entry, abnormal=verb == "crash")


steps_done = 0


async def compare(spec: Inner, todo: list[tuple[str, int, int]]) -> None:
    """Live through `todo` with trees of `spec`: a new one whenever one has ended."""
    global steps_done
    todo = list(todo)
    while todo:
        world = World(now=trio.current_time())
        real = Real(world)
        root = ModelSupervisor(world, spec, None)
        root.start_first()
        gave_up = False
        try:
            async with open_supervisor([real.spec(child) for child in spec.children], **inner(spec)) as tree:
                while todo:
                    await step(real, tree, root, todo.pop())
                    steps_done += 1
                    await wait_all_tasks_blocked()
                    assert not root.dead, "the model has ended, the real tree has not"
                    assert real.diary == world.diary
                    assert picture(tree.tree()) == root.picture()
                root.stop_all()
        except RestartLimitReached:
            gave_up = True
        assert root.dead, "the real tree has ended, the model has not"
        assert real.diary == world.diary
        assert gave_up == root.gave_up
        assert all(info.state == "stopped" for info in tree.which_children())


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    # Shrinking a tree takes minutes; add Phase.shrink to look into a failure.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(spec=trees(), todo=st.lists(commands, min_size=STEPS, max_size=STEPS))
def compare_many(spec: Inner, todo: list[tuple[str, int, int]]) -> None:
    trio.run(compare, spec, todo, clock=MockClock(autojump_threshold=0))


def test_random_trees_live_as_the_model_says() -> None:
    """Order of starts and stops, results of calls, states, counts, windows and ends agree over 10,000 steps."""
    compare_many()
    assert steps_done >= 10_000
