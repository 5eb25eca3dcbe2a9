"""Fixtures of the store's tests."""

from tests.support.servers import installation, made_cluster, pg_cluster, pg_server, place, public_place

__all__ = ["installation", "made_cluster", "pg_cluster", "pg_server", "place", "public_place"]
