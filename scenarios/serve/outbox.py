"""Sends callbacks to programs on this machine and logs how they took them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import aiohttp

from scenarios.serve.beckn import BecknDesk, Pending, refusal
from scenarios.serve.log import AccessLog, AccessRecord
from schema.clock import Clock
from schema.readings import Source

_TRIES = 3
_BETWEEN_S = 0.5
_TIMEOUT_S = 5.0


class Outbox:
    """Sends each callback in a task of its own: a receiver that hangs delays no other.

    Args:
        desk: Makes the headers.
        clock: For the log and for signatures.
        log: Gets one record an attempt, after it.
    """

    def __init__(self, desk: BecknDesk, clock: Clock, log: AccessLog) -> None:
        self._desk = desk
        self._clock = clock
        self._log = log
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, pending: Pending) -> None:
        """Begin to send a callback; up to three attempts for each copy."""
        task = asyncio.create_task(self._send(pending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is not sent yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _send(self, pending: Pending) -> None:
        refused = refusal(pending)
        if refused is not None:
            self._record(pending, None, refused)
            return
        for _ in range(pending.copies):
            for attempt in range(_TRIES):
                if attempt:
                    await asyncio.sleep(_BETWEEN_S)
                if await self._post(pending):
                    break

    async def _post(self, pending: Pending) -> bool:
        """Say whether the receiver took it; what it refuses is not sent again."""
        headers = self._desk.headers(pending.body, self._clock.now())
        try:
            async with self._session.post(
                pending.url, data=pending.body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._record(pending, None, str(exc) or type(exc).__name__)
            return False
        self._record(pending, status, None)
        return status < HTTPStatus.INTERNAL_SERVER_ERROR

    def _record(self, pending: Pending, status: int | None, error: str | None) -> None:
        self._log.write(
            AccessRecord(
                at=self._clock.now(),
                source=Source.BECKN,
                direction="out",
                method="POST",
                path=pending.url,
                status=status,
                fault=pending.fault,
                bytes=len(pending.body) if error is None else 0,
                error=error,
            )
        )
