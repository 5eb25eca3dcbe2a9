"""The key by which a limit tells jobs apart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors import BadConfiguration, generate_key
from kathikon_actors.jobs import json
from kathikon_actors.jobs.keypath import LONGEST_KEY, KeyPath
from kathikon_actors.jobs.sealed_record import seal_new
from kathikon_actors.jobs.sealing import Keyring, known_keyrings
from tests.jobs.make import record


def key(path: str, **fields: Any) -> str:
    encoded = {name: json.encode(value) for name, value in fields.items()}
    return KeyPath(path, "Limit: by").read(record(**encoded))


def test_a_path_leads_into_arguments_and_meta() -> None:
    """Names joined by dots; the key is the JSON text of what stands there."""
    assert key("args.account", args={"account": 7}) == "7"
    assert key("args.user.id", args={"user": {"id": "x"}}) == '"x"'
    assert key("meta.region", meta={"region": "eu"}) == '"eu"'


def test_a_number_and_its_text_are_two_keys() -> None:
    """1 and "1" are two accounts."""
    assert key("args.a", args={"a": 1}) != key("args.a", args={"a": "1"})


@pytest.mark.parametrize("args", [{}, {"a": None}, {"a": 3}, {"a": []}, {"a": {"c": 1}}])
def test_jobs_without_a_value_share_the_empty_key(args: dict[str, Any]) -> None:
    """Missing, null, or not an object on the way: never an error, the job must run."""
    assert key("args.a.b", args=args) == ""


@given(st.dictionaries(st.text(), st.integers(), max_size=5))
def test_the_order_of_entries_makes_no_key_of_its_own(value: dict[str, int]) -> None:
    """The same object written the other way round is the same key."""
    turned = dict(reversed(value.items()))
    assert key("args.a", args={"a": value}) == key("args.a", args={"a": turned})


@given(st.text(min_size=LONGEST_KEY, max_size=2 * LONGEST_KEY))
def test_a_long_key_is_kept_by_its_hash(text: str) -> None:
    """So that no key is too long for an index."""
    assert len(key("args.a", args={"a": text})) <= LONGEST_KEY


@pytest.mark.parametrize("path", ["", "args", "meta", "arg.x", "args.", "args..x", "partition_key.x", "queue", None, 3])
def test_a_path_that_leads_nowhere_is_refused(path: Any) -> None:
    """With what may stand there, and the nearest root."""
    with pytest.raises(BadConfiguration, match=r'Limit: by is .*give "args\.NAME"'):
        KeyPath(path, "Limit: by")
    with pytest.raises(BadConfiguration, match='Did you mean "args"'):
        KeyPath("arg.x", "Limit: by")


def test_the_key_of_something_encrypted_is_a_keyed_hash_that_nodes_agree_on_while_keys_change() -> None:
    """Whichever key sealed it, and whether the node has the newest key already; never the value."""
    old, new, path = generate_key(), generate_key(), KeyPath("args.card", "Limit: by")

    def sealed_key(card: str, sealed_with: Keyring, read_with: Keyring) -> str:
        job = record(args=json.encode({"card": card}))
        seal_new(job, sealed_with, None)
        with known_keyrings(read_with):
            return path.read(job)

    before, while_changing, after = Keyring([old]), Keyring([new, old]), Keyring([new])
    key = sealed_key("4111", before, before)
    assert len(key) == 64
    assert "4111" not in key
    assert sealed_key("4111", before, while_changing) == sealed_key("4111", while_changing, while_changing) == key
    assert key not in (sealed_key("4112", before, before), sealed_key("4111", after, after))
    assert sealed_key("4111", new_only := Keyring([new]), before) == ""
    assert old not in repr(new_only)
