"""The declaration of a queue is checked when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.sizes import parse_size


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"isolation": "proces"}, 'Did you mean "process"?'),
        ({"isolation": None}, "'process', 'task', 'fresh'"),
        ({"max_jobs_per_process": 0}, "a whole number from 1, or None"),
        ({"max_jobs_per_process": True}, "a whole number from 1, or None"),
        ({"max_jobs_per_process": 1.5}, "a whole number from 1, or None"),
        ({"max_memory": "much"}, '"512MB"'),
        ({"max_memory": "9" * 250}, '"512MB"'),
        ({"max_memory": 2**63}, '"512MB"'),
        ({"max_depth": 10**30}, "a whole number from 1 with"),
        ({"max_in_memory": 2**31}, "a whole number from 10 to 2147483647"),
        ({"max_jobs_per_process": 2**31}, "a whole number from 1, or None"),
        ({"max_memory": "1KB"}, "at least 16MB"),
        ({"max_memory": -5}, "at least 16MB"),
        ({"max_memory": True}, "at least 16MB"),
        ({"processes": 2, "isolation": "fresh"}, "concurrency says how many run"),
        ({"processes": 2, "isolation": "task"}, "concurrency says how many run"),
        ({"max_jobs_per_process": 5, "isolation": "fresh"}, "a process runs one job"),
        ({"max_jobs_per_process": 5, "isolation": "task"}, "no process is used"),
        ({"max_memory": "1GB", "isolation": "task"}, "share the node's memory"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_legal(options: dict[str, Any], words: str) -> None:
    """The sentence names the queue, the field and the value."""
    with pytest.raises(BadConfiguration, match='queue "mail": ') as refused:
        Queue("mail", **options)
    field = next(iter(options))
    assert f"{field} is {options[field]!r}" in str(refused.value) and words in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"isolation": "fresh", "max_memory": 2**30}, {"max_jobs_per_process": 1}])
def test_what_fits_is_kept(options: dict[str, Any]) -> None:
    """As it was given."""
    queue = Queue("mail", **options)
    assert all(getattr(queue, name) == value for name, value in options.items())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("64k", 65_536),
        (" 7 b ", 7),
        ("3", 3),
        (10, 10),
        ("", None),
        ("MB", None),
        ("9" * 400, None),
        ("99999999T", None),
        ("-1MB", None),
        ("1 M B", None),
        ("0", None),
        (0, None),
        (True, None),
        (None, None),
        (1.5, None),
    ],
)
def test_sizes_are_read_as_people_write_them(text: object, size: int | None) -> None:
    """Powers of 1024, with or without the `B`."""
    assert parse_size(text) == size


def test_only_a_queue_in_the_nodes_own_loop_refuses_plain_functions() -> None:
    """An async one is welcome everywhere."""
    assert Queue("q", isolation="task").refusal("add", is_async=True) is None
    assert Queue("q", isolation="fresh").refusal("add", is_async=False) is None
    refusal = Queue("q", isolation="task").refusal("add", is_async=False)
    assert refusal is not None and "worker add" in refusal and 'queue "q"' in refusal
