"""The store in one SQLite file, shared by all processes of one machine."""

from aiex.cluster.local.store import SqliteStore

__all__ = ["SqliteStore"]
