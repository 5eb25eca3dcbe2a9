"""Encryption by itself: what is sealed opens for its own job and field only, and keys show nowhere."""

from __future__ import annotations

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.rotation import Carried, renew
from kathikon_actors.jobs.sealed_record import is_sealed, open_record, rebind, seal_new
from kathikon_actors.jobs.sealing import CannotOpen, Keyring, generate_key
from tests.support.records import new_record

OLD, NEW, OTHER = generate_key(), generate_key(), generate_key()
ID, ANOTHER = bytes(range(16)), bytes(16)


@given(st.binary(max_size=300), st.sampled_from(["args", "result"]))
def test_what_is_sealed_opens_again_and_only_there(plain: bytes, field: str) -> None:
    """Another job, another field, another key, a changed byte: each is refused."""
    ring = Keyring([NEW])
    text = ring.seal(plain, ID, field)
    assert ring.open(text, ID, field) == plain
    assert ring.seal(plain, ID, field) != text
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    damaged = base64.b64encode(raw).decode()
    for bad, job_id, name in ((text, ANOTHER, field), (text, ID, "meta"), (damaged, ID, field)):
        with pytest.raises(CannotOpen, match="not what was encrypted"):
            ring.open(bad, job_id, name)
    with pytest.raises(CannotOpen, match="not among encryption_keys"):
        Keyring([OTHER]).open(text, ID, field)


@pytest.mark.parametrize("text", ["", "!", "AAAA", base64.b64encode(b"\x02" + bytes(40)).decode()])
def test_what_was_never_sealed_is_refused(text: str) -> None:
    """With one kind of error."""
    with pytest.raises(CannotOpen, match="damaged"):
        Keyring([NEW]).open(text, ID, "args")


def test_the_first_key_seals_and_each_opens() -> None:
    """That is how keys change."""
    before = Keyring([OLD]).seal(b"x", ID, "args")
    both = Keyring([NEW, OLD])
    assert both.open(before, ID, "args") == b"x"
    assert not both.is_newest(before)
    assert both.is_newest(both.seal(b"x", ID, "args"))
    with pytest.raises(CannotOpen):
        Keyring([OLD]).open(both.seal(b"x", ID, "args"), ID, "args")


def test_keys_come_as_bytes_base64_or_hexadecimal() -> None:
    """All the same key."""
    raw = base64.b64decode(NEW)
    assert Keyring([raw]).raw == Keyring([NEW]).raw == Keyring([raw.hex()]).raw


@pytest.mark.parametrize(
    "keys",
    [["hunter2"], [b"too short"], [5], NEW, [], [NEW, "x" * 64], [NEW[:-4]]],
    ids=["word", "short", "number", "no list", "none", "not hexadecimal", "cut"],
)
def test_what_is_no_key_is_refused_without_showing_it(keys: object) -> None:
    """Neither in the error nor in anything else."""
    with pytest.raises(BadConfiguration) as caught:
        Keyring(keys)  # type: ignore[arg-type]
    assert not any(secret in str(caught.value) for secret in ("hunter2", "too short", "xxxx", NEW[:10]))
    ring = Keyring([NEW])
    assert NEW not in repr(ring)
    assert repr(ring.raw[0]) not in repr(ring)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ring)


def test_a_record_is_sealed_opened_and_bound_to_another_job() -> None:
    """Arguments, meta on request, words of errors."""
    ring = Keyring([NEW])
    record = new_record(args=b'{"card":"4111"}', meta=b'{"note":"n"}')
    seal_new(record, ring, "meta")
    assert is_sealed(record)
    assert b"4111" not in record.args + record.meta
    assert json.decode(record.meta).keys() == {"kathikon.sealed"}
    error = {"at": 1, "message": ring.seal_text("card 4111", record.id, "message"), "traceback": None}
    record.errors = json.encode(error)
    plain = open_record(record, ring)
    assert (plain.args, plain.meta) == (b'{"card":"4111"}', b'{"note":"n"}')
    assert json.decode(plain.errors)["message"] == "card 4111"
    with pytest.raises(CannotOpen, match="no encryption_keys"):
        open_record(record, None)
    rebind(record, ring, record.id, ANOTHER)
    record.id, record.errors = ANOTHER, b""
    assert open_record(record, ring).args == b'{"card":"4111"}'


def test_a_store_may_write_sealed_json_with_spaces() -> None:
    """It is one value all the same."""
    ring = Keyring([NEW])
    raw = ring.seal_json(b'{"a":1}', ID, "args").replace(b":", b": ", 1)
    assert ring.open_json(raw, ID, "args") == b'{"a":1}'
    assert ring.open_json(b'{"a":1}', ID, "args") == b'{"a":1}'


def test_renewing_seals_what_an_older_key_sealed_and_leaves_the_rest() -> None:
    """Every part that may be sealed, those of other jobs' results with their own ids."""
    old, ring = Keyring([OLD]), Keyring([NEW, OLD])
    other = "00000000-0000-0000-0000-000000000000"
    entry = {"message": old.seal_text("m", ID, "message"), "traceback": old.seal_text("t", ID, "traceback")}
    result = old.seal_json(b"7", ANOTHER, "result").decode()
    carried = Carried(
        ID,
        ID,
        old.seal_json(b'{"a":1}', ID, "args").decode(),
        '{"plain":true}',
        old.seal_json(b"[2]", ID, "result").decode(),
        json.encode(entry).decode(),
        f'"{other}":{result}',
    )
    fresh = renew(carried, ring)
    assert fresh is not None
    newest = Keyring([NEW])
    assert newest.open_json(fresh.args.encode(), ID, "args") == b'{"a":1}'
    assert newest.open_json((fresh.result or "").encode(), ID, "result") == b"[2]"
    assert newest.open_text(json.decode(fresh.errors)["message"], ID, "message") == "m"
    parts = json.decode(f"{{{fresh.dependency_results}}}")
    assert newest.open_value(parts[other], ANOTHER, "result") == 7
    assert fresh.meta == carried.meta
    assert renew(fresh, ring) is None
    with pytest.raises(CannotOpen):
        renew(carried, newest)
