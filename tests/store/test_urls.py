"""Store URLs: what is understood, what is refused, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.store.urls import parse_store_url


def test_memory_is_understood() -> None:
    """`memory:` is a whole URL."""
    url = parse_store_url("memory:")
    assert (url.kind, url.safe, url.path) == ("memory", "memory:", None)


def test_embedded_names_a_directory() -> None:
    """The path may be relative, and begin with a tilde."""
    assert parse_store_url("embedded:./data dir").path == Path("data dir")
    assert parse_store_url("embedded:~/x").path == Path("~/x").expanduser()


@pytest.mark.parametrize(
    ("text", "safe", "where"),
    [
        ("postgresql://db/shop", "postgresql://db/shop", 'database "shop" on db'),
        ("postgres://ann:s3cret@db:5433/shop", "postgres://ann@db:5433/shop", 'database "shop" on db:5433'),
        ("postgresql://ann:s3:c@ret@db/shop", "postgresql://ann@db/shop", 'database "shop" on db'),
        ("postgresql://:s3cret@db/shop", "postgresql://@db/shop", 'database "shop" on db'),
        (
            "postgresql:///shop?host=/run/pg&password=s3cret",
            "postgresql:///shop?host=/run/pg",
            'database "shop" on /run/pg',
        ),
        ("postgresql://a:1,b:2/shop?sslmode=require", "postgresql://a:1,b:2/shop?sslmode=require", "on a:1,b:2"),
        ("postgresql://", "postgresql://", "the user's own database on the default host"),
    ],
)
def test_a_postgres_url_is_shown_without_its_secrets(text: str, safe: str, where: str) -> None:
    """`safe`, `where`, `str` and `repr` hold no password; `text` is the URL as given."""
    url = parse_store_url(text)
    assert url.kind == "postgresql" and url.text == text
    assert url.safe == safe == str(url)
    assert where in url.where
    assert "s3" not in url.safe + url.where + repr(url)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postgress://u:s3cret@h/d", 'Did you mean "postgres"?'),
        ("memroy:", 'Did you mean "memory"?'),
        ("memory", 'Did you mean "memory"?'),
        ("u:s3cret@host/db", 'no store is called "u"'),
        ("", "give"),
        ("memory:x", "nothing after the colon"),
        ("embedded:", "needs a directory"),
        ("postgresql:shop", "two slashes"),
        ("postgresql://u:s3c#ret@h/d", "%23"),
        ("embedded:a\0b", "a character which no URL has"),
        ("embedded:~nobody-of-this-name/x", "in no home"),
        ("postgresql://u:s3cret\ud800@h/d", "a character which no URL has"),
        ("postgresql://u:s3cret@h%00/d", "a character which no URL has"),
        ("postgresql://u:s3cret@h:99999/d", 'the port "99999"; give 1 to 65535'),
        ("postgresql://u:s3cret@a:1,b:x/d", 'the port "x"'),
        ("postgresql://u:s3cret@[::1]:0/d", 'the port "0"'),
        ("postgresql:///d?port=70000", 'the port "70000"'),
        (None, "the store is None; give"),
        (5, "the store is 5; give"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_next_step(text: Any, message: str) -> None:
    """The error says what is legal, guesses what was meant, and shows no password."""
    with pytest.raises(BadConfiguration) as caught:
        parse_store_url(text)
    assert message in str(caught.value)
    assert "s3c" not in str(caught.value)
