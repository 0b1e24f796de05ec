"""The sink of kill trials in a real PostgreSQL: the ingest function, and a checker in SQL.

The natural keys lose their unique constraint here. In use it would refuse a doubled row; in these
trials nothing may stand between a fault and the checker.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

TABLES = ("api_logs", "agent_negotiations")
_IN_FLIGHT = 6


class PostgresSink:
    """Takes requests as Supabase's API does, and fails now and then, also after the commit.

    With ``own_ids`` it makes an id for each row it is given, which is the fault that ids made by
    the producer keep out.
    """

    def __init__(self, url: str, run_id: str, seed: int, *, own_ids: bool = False) -> None:
        self.requests = 0
        self._run_id = run_id
        self._own_ids = own_ids
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._free: queue.LifoQueue[psycopg.Connection[Any]] = queue.LifoQueue()
        self._all = [psycopg.connect(url, autocommit=True) for _ in range(_IN_FLIGHT)]
        for table in TABLES:
            self._all[0].execute(f"alter table {table} drop constraint {table}_key")
        for connection in self._all:
            connection.execute("set role service_role")
            self._free.put(connection)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def answer(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
        with self._lock:
            self.requests += 1
            dice = self._rng.random()
        if dice < 0.10:
            return {"error": "503"}
        rows = {
            table: [self._row(table, body) for body in bodies] for table, bodies in batch.items()
        }
        with self._connection() as connection:
            try:
                connection.execute("select public.ingest(%s)", (Jsonb(rows),))
            except psycopg.Error as exc:
                return {"error": exc.sqlstate or "57P01"}
        if dice < 0.25:
            return {"error": "502"}
        return {"counts": {table: len(bodies) for table, bodies in batch.items()}}

    def _row(self, table: str, body: bytes) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(body)
        if self._own_ids and table in TABLES:
            row["id"] = str(uuid.uuid4())
        return row

    def keys(self) -> Counter[tuple[str, int]]:
        """Count the run's rows by natural key, in SQL."""
        found: Counter[tuple[str, int]] = Counter()
        with self._connection() as connection:
            for table in TABLES:
                counted = connection.execute(
                    f"select sequence, count(*) from {table} where run_id = %s group by sequence",
                    (self._run_id,),
                )
                found.update({(table, sequence): count for sequence, count in counted})
        return found

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._free.get()
        try:
            yield connection
        finally:
            self._free.put(connection)
