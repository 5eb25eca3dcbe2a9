"""`check APP` tells what an app declares and what is wrong with it."""

from __future__ import annotations

from tests.cli.program import Directory

HEAD = "from kathikon_actors import App, Queue, worker\n"


def test_check_tells_what_the_app_declares(place: Directory) -> None:
    """Queues with their workers, workers with their options; starts and makes nothing, nor does printing disturb."""
    (place.path / "loud.py").write_text("print('hello')\nfrom shop import *\n")
    ended = place.run("check", "loud:app", "--json", PYTHONDONTWRITEBYTECODE="1")
    assert ended.code == 0 and "hello" in ended.err
    found = ended.data
    assert (found["app"], found["ok"], found["problems"], found["warnings"]) == ("loud:app", True, [], [])
    common = {"processes": 1, "isolation": "process", "max_jobs_per_process": None, "max_memory": None}
    assert found["queues"] == [
        {"name": "plain", "concurrency": 3, "default": True, "workers": ["add", "block"], **common},
        {"name": "async", "concurrency": 10, "default": False, "workers": ["nap", "resume"], **common},
    ]
    assert found["workers"][1] == {
        "name": "nap", "at": "shop:nap", "queue": "async", "kind": "async", "arguments": "(seconds: float)",
        "priority": 0, "max_attempts": 3, "timeout": 300.0, "tags": ["vip"],
    }  # fmt: skip
    assert sorted(entry.name for entry in place.path.iterdir()) == ["loud.py", "shop.py"]


def test_check_for_people_is_a_table_and_a_sentence(place: Directory) -> None:
    """The table on standard output, the sentence on standard error."""
    ended = place.run("check", "shop:app")
    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == ["queue", "concurrency", "processes", "workers"]
    assert ended.err == "shop:app is fine: 2 queues, 4 workers\n"


def test_two_workers_of_one_name_are_a_problem(place: Directory) -> None:
    """Both are named; the exit code is that of a bad configuration."""
    (place.path / "twice.py").write_text(
        HEAD
        + "@worker(name='hello')\ndef a(): ...\n@worker(name='hello')\ndef b(): ...\napp = App([Queue('q')], [a, b])\n"
    )
    ended = place.run("check", "twice:app", "--json")
    assert ended.code == 78 and ended.data["ok"] is False
    assert "twice:a" in ended.data["problems"][0] and "twice:b" in ended.data["problems"][0]


def test_what_a_node_would_refuse_is_a_problem(place: Directory) -> None:
    """Each cron entry whose job does not fit, and children that share an id."""
    (place.path / "refused.py").write_text(
        HEAD.replace("App,", "App, Cron,")
        + "from supervisors import ChildSpec\n@worker\ndef a(x): ...\nasync def run(): ...\n"
        "crons = [Cron('fine', '@daily', a.new(1)), Cron('gone', '@daily', a.new(1).__class__('zz', {})),"
        " Cron('bad', '@daily', a.new(object()))]\n"
        "app = App([Queue('q')], [a], crons=crons)\n"
        "twice = App([Queue('q')], [a], children=[ChildSpec('c', run), ChildSpec('c', run)])\n"
    )
    ended = place.run("check", "refused:app", "--json")
    assert ended.code == 78 and ended.data["ok"] is False
    gone, bad = ended.data["problems"]
    assert gone.startswith('cron entry "gone": no worker "zz"') and bad.startswith('cron entry "bad": ')
    ended = place.run("check", "refused:twice", "--json")
    assert ended.code == 78 and ended.data["problems"][0].startswith("children of the app: ")


def test_a_worker_whose_queue_is_misspelt_is_warned_of(place: Directory) -> None:
    """An app that lists no workers leaves it out silently when it runs."""
    (place.path / "typo.py").write_text(
        HEAD + "@worker(queue='mial')\ndef a(): ...\n@worker\ndef b(): ...\napp = App([Queue('mail'), Queue('idle')])\n"
    )
    ended = place.run("check", "typo:app", "--json")
    assert ended.code == 0
    left_out, idle = ended.data["warnings"]
    assert 'Did you mean "mail"?' in left_out and "worker a" in left_out and '"idle"' in idle


def test_a_queue_that_does_not_fit_is_told_with_what_is_legal(place: Directory) -> None:
    """The declaration is refused when it is made; `check` names the queue and the field."""
    (place.path / "bad.py").write_text(HEAD + "app = App([Queue('mail', max_memory='lots')])\n")
    ended = place.run("check", "bad:app")
    assert ended.code == 78 and "queue \"mail\": max_memory is 'lots'; give bytes" in ended.err


def test_a_plain_worker_in_the_nodes_own_loop_is_a_problem(place: Directory) -> None:
    """It would block the node; the sentence names the two ways out."""
    (place.path / "inloop.py").write_text(
        HEAD + "@worker\ndef a(): ...\n@worker\nasync def b(): ...\napp = App([Queue('q', isolation='task')], [a, b])\n"
    )
    ended = place.run("check", "inloop:app", "--json")
    assert ended.code == 78
    [problem] = ended.data["problems"]
    assert "worker a is a plain function" in problem and "make it async" in problem and 'isolation="process"' in problem
