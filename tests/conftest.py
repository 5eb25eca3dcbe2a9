"""Fixtures that every room of the tests shares, and how property tests run: no file is left, no clock decides."""

import signal

from hypothesis import HealthCheck, settings

from tests.support.postgres import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]

settings.register_profile("tests", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has us ignore Ctrl-C, and what we start inherits that: give it back, so
    # that the tests which send it mean something.
    signal.signal(signal.SIGINT, signal.default_int_handler)
