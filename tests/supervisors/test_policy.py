"""The pure rules: what is restarted, what is reported, what is a clean stop."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from supervisors import BRUTAL_KILL, ChildSpec, Crash, Killed, Normal, Shutdown, is_abnormal
from supervisors._policy import is_clean_stop, is_reported, wants_restart
from supervisors._window import RestartWindow

CRASH = Crash(ValueError("x"))


def spec(**options: Any) -> ChildSpec:
    return ChildSpec("a", trio.sleep_forever, **options)


@pytest.mark.parametrize(
    ("restart", "reason", "restarted", "reported"),
    [
        ("permanent", Normal(), True, True),
        ("permanent", Shutdown("x"), True, True),
        ("permanent", Killed(), True, True),
        ("permanent", CRASH, True, True),
        ("transient", Normal(), False, False),
        ("transient", Shutdown(), False, False),
        ("transient", Killed(), True, True),
        ("transient", CRASH, True, True),
        ("temporary", Normal(), False, False),
        ("temporary", Shutdown("x"), False, False),
        ("temporary", Killed(), False, True),
        ("temporary", CRASH, False, True),
    ],
)
def test_policy_restart_type_and_reason_decide(restart: str, reason: Any, restarted: bool, reported: bool) -> None:
    """OTP's table, whole."""
    assert wants_restart(spec(restart=restart), reason) is restarted
    assert is_reported(spec(restart=restart), reason) is reported


@pytest.mark.parametrize(
    ("reason", "permanent", "other", "brutal_permanent", "brutal_other"),
    [
        (Shutdown(), True, True, False, True),
        (Shutdown("x"), False, True, False, True),
        (Normal(), False, True, False, True),
        (Killed(), False, False, True, True),
        (CRASH, False, False, False, False),
    ],
)
def test_policy_what_a_stop_may_end_with(
    reason: Any, permanent: bool, other: bool, brutal_permanent: bool, brutal_other: bool
) -> None:
    """OTP's rule for shutdown errors, whole."""
    assert is_clean_stop(spec(), reason) is permanent
    assert is_clean_stop(spec(restart="transient"), reason) is other
    assert is_clean_stop(spec(shutdown=BRUTAL_KILL), reason) is brutal_permanent
    assert is_clean_stop(spec(restart="temporary", shutdown=BRUTAL_KILL), reason) is brutal_other


def test_policy_the_window_forgets_by_time_only() -> None:
    """Inclusive at its edge."""
    window = RestartWindow(2, 5.0)
    assert [window.add(at) for at in (0.0, 1.0, 5.0)] == [True, True, False]
    assert [window.count(at) for at in (5.0, 5.001, 6.0, 6.001, 10.0, 10.001)] == [3, 2, 2, 1, 1, 0]
    window.add(11.0)
    window.clear()
    assert window.count(11.0) == 0


def test_policy_reasons_say_what_they_are() -> None:
    """As text, and whether they are abnormal."""
    reasons = [Normal(), Shutdown(), Shutdown("why"), Killed(), CRASH, Crash(ValueError())]
    assert [str(reason) for reason in reasons] == [
        "normal",
        "shutdown",
        "shutdown: why",
        "killed",
        "crash: ValueError: x",
        "crash: ValueError",
    ]
    assert [is_abnormal(reason) for reason in reasons] == [False, False, False, True, True, True]
