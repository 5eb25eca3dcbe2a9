"""Fixtures that every room of the tests shares, and how property tests run: no file is left, no clock decides."""

from hypothesis import HealthCheck, settings

from tests.support.postgres import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]

settings.register_profile("tests", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
