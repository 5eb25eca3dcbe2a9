"""What jobs print reaches the node's standard error in whole lines, and not too much of it; nobody waits for it."""

from __future__ import annotations

import os
import select
import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.processes import output
from kathikon_actors.processes.memory import rss_bytes
from kathikon_actors.processes.messages import Report
from kathikon_actors.processes.output import Allowance, Output, Printer
from tests.processes.tools import open_worker, open_zygote, receive, report, run, until


def printer() -> Printer:
    return Printer("worker 1", Allowance(1e12, 0, 0.0), 0.0)


@given(pieces=st.lists(st.binary(max_size=30), max_size=20))
def test_what_is_little_passes_whole_and_in_lines(pieces: list[bytes]) -> None:
    """However it arrives; only at the end a line may lack its end, which it is given."""
    one = printer()
    passed = [one.feed(piece, 0.0) for piece in pieces]
    assert all(not piece or piece.endswith(b"\n") for piece in passed)
    text = b"".join(pieces)
    rest = one.close(0.0)
    assert b"".join(passed) + rest == (text if not text or text.endswith(b"\n") else text + b"\n")


def test_what_is_much_is_counted_and_told_at_the_end() -> None:
    """A burst passes, then what the rate allows; no line is cut."""
    one = printer()
    line = b"x" * 99 + b"\n"
    passed = [one.feed(line * 100, 0.0) for _ in range(1000)]
    text = b"".join(passed)
    lines = text.splitlines(keepends=True)
    assert output.BURST - 200 <= len(line) * lines.count(line) <= output.BURST
    last = one.close(0.0)
    told = [each for each in (*lines, *last.splitlines(keepends=True)) if each != line]
    assert len(told) == 2 and all(each.startswith(b"worker 1: ") for each in told)
    left_out = sum(int(each.split()[2]) for each in told)
    assert left_out + len(line) * lines.count(line) == 1000 * 100 * len(line)


def test_after_a_while_it_may_print_again() -> None:
    """At its rate, up to its burst."""
    one = printer()
    line = b"x" * 1023 + b"\n"
    one.feed(line * 2048, 0.0)
    assert line not in one.feed(line, 0.001)
    assert one.feed(line * 1000, 1.0).count(line) == output.PER_SECOND // 1024
    assert one.feed(line * 4096, 1000.0).count(line) == output.BURST // 1024


def test_all_together_may_not_print_more_than_their_own_allowance() -> None:
    """However many processes there are."""
    everybody = Allowance(10_000, 0, 0.0)
    printers = [Printer(str(number), everybody, 0.0) for number in range(20)]
    line = b"x" * 999 + b"\n"
    assert sum(each.feed(line * 5, 0.0).count(line) for each in printers) == 10


def test_a_line_that_never_ends_passes_in_pieces() -> None:
    """Held back up to a limit only."""
    one = printer()
    assert one.feed(b"x" * output.LONGEST_LINE, 0.0) == b""
    assert len(one.feed(b"x" * 10, 0.0)) == output.LONGEST_LINE + 10


def test_nobody_waits_for_a_log_that_nobody_reads() -> None:
    """A full pipe behind: what waits is bounded, the rest is dropped, whoever prints goes on."""
    poll = select.poll()
    nobody_reads, to = os.pipe()
    out = Output(poll, to)
    reader, to_print = out.open("worker 1")
    written = 0
    deadline = time.monotonic() + 20
    while written < 3 * 2**20:
        assert time.monotonic() < deadline
        written += os.write(to_print, b"x" * 1023 + b"\n")
        for descriptor, events in poll.poll(0):
            out.act(descriptor, events)
    os.close(to_print)
    out.act(reader, select.POLLIN)
    began = time.monotonic()
    out.finish()
    assert time.monotonic() - began < 10
    os.close(nobody_reads)
    os.close(to)


async def test_a_gigabyte_on_both_streams_blocks_nobody_and_fills_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The job completes, the next one too; some megabytes and a notice come out; the zygote keeps nothing."""
    began = time.monotonic()
    async with open_zygote() as zygote:
        worker = await zygote.fork("plain", 1, "printing")
        worker.send([run(1, "noop")])
        await receive(worker, 1)
        before = rss_bytes(zygote.pid)
        worker.send([run(2, "print_gigabytes", gigabytes=1)])
        with trio.fail_after(120):
            [printed] = await worker.receive()
        assert isinstance(printed, Report) and printed.verdict == "completed"
        after = rss_bytes(zygote.pid)
        worker.send([run(3, "noop")])
        assert (await report(worker)).seq == 3
        worker.close()
    out, err = capfd.readouterr()
    assert out == ""
    # What may pass grows with the time that it took, which is a busy machine's.
    assert len(err) < output.BURST + output.PER_SECOND * (time.monotonic() - began) + 2**20
    assert f"worker process {worker.pid} (printing): " in err and "are left out" in err
    assert before is not None and after is not None and after - before < 16 * 2**20


async def test_the_last_words_of_a_process_are_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """Also when it dies in the middle of a line, and when the zygote ends right after."""
    async with open_worker() as worker:
        worker.send([run(1, "last_words")])
        await until(lambda: worker.exit is not None)
    assert "on standard output\n" in (text := capfd.readouterr().err)
    assert "in the middle of a line\n" in text
