"""A pool of connections to SQLite, so that the example needs no server. Yours may be ``asyncpg.create_pool``."""

import asyncio
import os
import sqlite3
from typing import Any

PATH = os.environ.get("DATABASE", "/tmp/notes.db")  # noqa: S108 - the container's own


class Pool:
    """A few connections, each used by one request at a time; queries run in threads, so that the loop goes on."""

    def __init__(self) -> None:
        self._free: asyncio.Queue[sqlite3.Connection] = asyncio.Queue()

    @classmethod
    async def connect(cls, size: int) -> "Pool":
        """Open ``size`` connections. Raises ``sqlite3.Error``: then the worker does not become ready."""
        pool = cls()
        for _ in range(size):
            connection = await asyncio.to_thread(sqlite3.connect, PATH, isolation_level=None, check_same_thread=False)
            pool._free.put_nowait(connection)
        await pool.run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        return pool

    async def run(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement on a connection that is free, and return its rows."""
        connection = await self._free.get()
        try:
            return await asyncio.to_thread(lambda: connection.execute(statement, values).fetchall())
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close every connection."""
        while not self._free.empty():
            self._free.get_nowait().close()
