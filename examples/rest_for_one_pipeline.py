"""A pipeline under `rest_for_one`: when one stage dies, all that stand on it start again, and nobody before it.

Run it: `python examples/rest_for_one_pipeline.py`. A source holds lines, a parser turns them into numbers, a writer
writes them down. The parser meets a line that is no number and dies: it and the writer start again with a fresh
channel, while the source stays. What was on its way is parsed again, since a line counts as done only when it is
written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from supervisors import ChildSpec, open_supervisor


@dataclass
class Source:
    """The lines, how far they are done, and which of them nobody can read."""

    lines: list[str]
    done: int = 0
    broken: set[int] = field(default_factory=set)


@dataclass
class Pipeline:
    """What the stages hand to the next one, and the story."""

    story: list[str] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    finished: trio.Event = field(default_factory=trio.Event)
    source: Source | None = None
    numbers: trio.MemoryReceiveChannel[tuple[int, int]] | None = None


async def source(pipeline: Pipeline, *, task_status: trio.TaskStatus[None]) -> None:
    """Hold the lines."""
    pipeline.story.append("source starts")
    pipeline.source = Source(["1", "2", "3", "four", "5", "6"])
    task_status.started()
    await trio.sleep_forever()


async def parser(pipeline: Pipeline, *, task_status: trio.TaskStatus[None]) -> None:
    """Turn lines into numbers, from the first that is not done; one that is no number kills it."""
    pipeline.story.append("parser starts")
    assert pipeline.source is not None
    lines = pipeline.source
    send, pipeline.numbers = trio.open_memory_channel[tuple[int, int]](0)
    task_status.started()
    async with send:
        for index in range(lines.done, len(lines.lines)):
            if index in lines.broken:
                continue
            try:
                number = int(lines.lines[index])
            except ValueError:
                lines.broken.add(index)  # the next life must not meet it again
                raise
            await send.send((index, number))


async def writer(pipeline: Pipeline, *, task_status: trio.TaskStatus[None]) -> None:
    """Write numbers down; that is when a line is done."""
    pipeline.story.append("writer starts")
    assert pipeline.source is not None
    assert pipeline.numbers is not None
    lines, numbers = pipeline.source, pipeline.numbers
    task_status.started()
    async for index, number in numbers:
        pipeline.written.append(number)
        lines.done = index + 1
    if lines.done == len(lines.lines):
        pipeline.finished.set()


async def main() -> None:
    """Run it until all lines are written."""
    pipeline = Pipeline()
    stages = [
        ChildSpec("source", source, args=(pipeline,)),
        ChildSpec("parser", parser, args=(pipeline,), restart="transient"),
        ChildSpec("writer", writer, args=(pipeline,), restart="transient"),
    ]
    async with open_supervisor(stages, strategy="rest_for_one") as tree:
        await pipeline.finished.wait()
        print(tree.format_tree())
    print(", ".join(pipeline.story))
    print(f"written: {pipeline.written}")


if __name__ == "__main__":
    trio.run(main)
