"""Fixtures of the embedded server's tests."""

from tests.support.servers import installation, made_cluster, pg_cluster, pg_place, pg_server, public_place

__all__ = ["installation", "made_cluster", "pg_cluster", "pg_place", "pg_server", "public_place"]
