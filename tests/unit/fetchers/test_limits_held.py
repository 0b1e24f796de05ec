"""NESO's published limits over a day of polls, refusals, crashes and restarts; virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx
import pytest

from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from schema.clock import VirtualClock
from schema.rows import Record
from storage.ports import PutAck

START = datetime(2031, 2, 3, tzinfo=UTC)
RUN = "00000000-0000-0000-0000-00000000000a"
MINUTE = timedelta(minutes=1)
#: One in so many requests is refused, fails, or ends the process.
EVERY_N = 4
#: One in so many waits ends the process.
DIES_WAITING = 6


class Crash(BaseException):
    """The process dies, while the source works on a request or while it waits."""


class MortalClock(VirtualClock):
    """A clock whose sleepers may die half way."""

    def __init__(self, start: datetime, rng: Random) -> None:
        super().__init__(start)
        self.rng = rng
        self.deaths = 0

    async def sleep(self, seconds: float) -> None:
        if self.rng.randrange(DIES_WAITING) == 0:
            self.deaths += 1
            await super().sleep(seconds * self.rng.random())
            raise Crash
        await super().sleep(seconds)


class Store:
    async def put(self, records: Sequence[Record], checkpoint: object = None) -> PutAck:
        return PutAck(len(records), 0)


class Portal:
    """NESO as a moody server that notes when it was asked what."""

    def __init__(self) -> None:
        self.rng = Random(1)
        self.clock = MortalClock(START, self.rng)
        self.data: list[datetime] = []
        self.catalogue: list[datetime] = []
        self.asked_to_wait: list[tuple[datetime, float]] = []
        self.crashes = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        now = self.clock.now()
        log = self.data if "datastore" in request.url.path else self.catalogue
        log.append(now)
        if self.rng.randrange(EVERY_N) == 0:
            return self.spoiled(now)
        if "resource_show" in request.url.path:
            # Every file changes with every hour.
            result = {"id": "r", "name": "x", "last_modified": f"{now:%Y-%m-%dT%H:00:00}"}
        else:
            result = {"id": "r", "name": "x", "fields": [], "records": [], "total": 0}
        return httpx.Response(200, json={"success": True, "result": result})

    def spoiled(self, now: datetime) -> httpx.Response:
        match self.rng.randrange(4):
            case 0:
                self.crashes += 1
                raise Crash
            case 1:
                wait_s = float(self.rng.choice([5, 20, 300]))
                self.asked_to_wait.append((now, wait_s))
                return httpx.Response(429, headers={"Retry-After": f"{wait_s:.0f}"})
            case 2:
                return httpx.Response(503, text="down")
            case _:
                return httpx.Response(200, text="<html>")

    def fetcher(self, folder: Path) -> Fetcher:
        return make_fetcher(
            "neso",
            base_url="https://api.example/v1",
            run_id=RUN,
            clock=self.clock,
            storage=Store(),
            seed=self.crashes,
            transport=httpx.MockTransport(self),
            incarnation=f"i{self.crashes}",
            interval_s=60,
            state_folder=folder,
        )


def most_within(moments: list[datetime], window: timedelta) -> int:
    """Count the most requests in any window of that length, its start counted and its end not."""
    first = most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.timeout(300)
async def test_limits_hold_for_a_day_with_more_than_a_hundred_restarts(tmp_path: Path) -> None:
    portal = Portal()
    fetcher = portal.fetcher(tmp_path)
    planned = START
    while planned < START + timedelta(days=1):
        try:
            await fetcher.poll(planned)
        except Crash:
            fetcher = portal.fetcher(tmp_path)
            planned = portal.clock.now() + timedelta(seconds=1)
        else:
            planned = max(planned + MINUTE, portal.clock.now())
    assert portal.crashes + portal.clock.deaths > 100
    assert len(portal.data) > 200
    assert most_within(portal.data, MINUTE) <= 2
    assert most_within(portal.catalogue, timedelta(seconds=1)) <= 1
    everything = sorted(portal.data + portal.catalogue)
    for asked, wait_s in portal.asked_to_wait:
        following = [moment for moment in everything if moment > asked]
        assert not following or following[0] - asked >= timedelta(seconds=wait_s)
    assert len(portal.asked_to_wait) > 30
