"""What a spool does while others fill its disk: take puts, and send a part of what waits."""

from __future__ import annotations

import storage_samples as samples

from schema.rows import Lane, Record
from storage.writer import Vault


def put(number: int) -> list[Record]:
    """Give a message and nine long attempts, some kilobytes in all."""
    return [
        samples.run_record(),
        samples.message(number),
        *(samples.log(number * 9 + n, error="x" * 500) for n in range(9)),
    ]


def send_all(vault: Vault) -> int:
    """Send on a part of what waits; gives how many rows."""
    rows = [
        row
        for lane in Lane
        for row in vault.spool.take(
            lane, vault.spool.run(samples.RUN), 0, rows=100, size=10**9, now_s=1
        )
    ]
    vault.spool.settle(rows, 1)
    return len(rows)
