"""What a user would pick instead, measured in the same way: multiprocessing, concurrent.futures, pykka."""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.actor_kinds import PykkaEcho, echo, nothing, own_pid

__all__ = ["executor_calls", "executor_recovery", "forked_starts", "pool_casts", "pykka_calls"]


def pykka_calls(calls: int) -> float:
    """Round trips per second to a pykka actor in a thread."""
    ref = PykkaEcho.start()
    try:
        proxy = ref.proxy()
        proxy.echo(0).get()
        began = time.perf_counter()
        for number in range(calls):
            proxy.echo(number).get()
        return calls / (time.perf_counter() - began)
    finally:
        ref.stop()


def executor_calls(calls: int, outstanding: int, value: Any) -> float:
    """Round trips per second to a ProcessPoolExecutor of one process."""
    with ProcessPoolExecutor(1) as pool:
        pool.submit(echo, value).result()
        began = time.perf_counter()
        waiting: deque[Future[Any]] = deque()
        for _ in range(calls):
            waiting.append(pool.submit(echo, value))
            if len(waiting) >= outstanding:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
        return calls / (time.perf_counter() - began)


def pool_casts(casts: int) -> float:
    """Tasks per second that a multiprocessing.Pool of one process takes, whose results nobody waits for."""
    with multiprocessing.Pool(1) as pool:
        pool.apply(nothing, (0,))
        began = time.perf_counter()
        for number in range(casts - 1):
            pool.apply_async(nothing, (number,))
        pool.apply(nothing, (0,))
        return casts / (time.perf_counter() - began)


def _answer(connection: Connection) -> None:
    while True:
        connection.send(connection.recv())


def forked_starts(times: int) -> float:
    """Milliseconds from the start of a multiprocessing process (fork) until it answers, p50."""
    context = multiprocessing.get_context("fork")
    taken = []
    for _ in range(times):
        ours, theirs = context.Pipe()
        began = time.perf_counter()
        process = context.Process(target=_answer, args=(theirs,), daemon=True)
        process.start()
        ours.send(1)
        ours.recv()
        taken.append((time.perf_counter() - began) * 1e3)
        process.kill()
        process.join()
    return statistics.median(taken)


def executor_recovery(times: int) -> float:
    """Milliseconds from kill -9 of a ProcessPoolExecutor's process until a new executor answers, p50."""
    taken = []
    pool = ProcessPoolExecutor(1)
    for _ in range(times):
        pid = pool.submit(own_pid).result()
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                pool.submit(own_pid).result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                pool = ProcessPoolExecutor(1)
                pool.submit(own_pid).result()
                break
        taken.append((time.perf_counter() - began) * 1e3)
    pool.shutdown()
    return statistics.median(taken)
