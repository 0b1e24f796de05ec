"""All checks in their order; each is told as soon as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from scenarios.live.sites import find_sites, load_sites
from scenarios.ops.check_machine import check_disk, check_programs, check_ray, check_spool
from scenarios.ops.check_sources import SourceCheck, polled_sources
from scenarios.ops.check_store import MakeStore, StoreCheck, check_clock, new_run
from scenarios.ops.findings import CheckResult, CheckStatus, Finding, fail, ok, timed
from schema.rows import Record
from schema.settings import Settings
from storage.embedded.attach import attach_or_start, find_running
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import Layout
from storage.embedded.processes import Progress
from storage.migrations import migrate
from storage.system_clock import SystemClock

STORE_CHECKS = ("supabase key", "migrations", "write right", "iteration")
Tell = Callable[[CheckResult], None]
Transport = Callable[[str], httpx.AsyncBaseTransport | None]


def network(source: str) -> httpx.AsyncBaseTransport | None:
    """Give no transport of our own: the source is asked over the network."""
    del source
    return None


@dataclass(slots=True)
class Checkup:
    """One round of all checks.

    Attributes:
        settings: In force.
        home: The state folder.
        folder: The working folder, where ``sites.toml`` is looked for.
        make_store: Makes a client of a Supabase.
        tell: Told every result as it is known.
        progress: Told of slow steps.
        transport: How a source is reached; tests give their own.
        packages: Programs of the embedded Supabase; of the home when None.
    """

    settings: Settings
    home: Path
    folder: Path
    make_store: MakeStore
    tell: Tell
    progress: Progress
    transport: Transport = network
    packages: Path | None = None

    def run(self) -> list[CheckResult]:
        """Make all checks and give their results in order."""
        return asyncio.run(self._all())

    async def _all(self) -> list[CheckResult]:
        clock = SystemClock(self.settings.clock_offset_s, self.settings.clock_speed)
        machine_clock = SystemClock()
        results: list[CheckResult] = []

        async def one(name: str, work: Callable[[], Awaitable[Finding]]) -> CheckResult:
            result = await timed(name, work, machine_clock)
            self.tell(result)
            results.append(result)
            return result

        await one("disk", lambda: check_disk(self.home, self.settings))
        await one("spool", lambda: check_spool(self.home, self.settings, machine_clock))
        await one("sites", self._sites)
        await one("ray", lambda: check_ray(self.home))
        await one(
            "embedded supabase", lambda: check_programs(self.home, self.settings, self.packages)
        )
        run_id = new_run()
        sources = [SourceCheck(source) for source in polled_sources()]
        asked = await asyncio.gather(
            *(
                timed(
                    f"source {check.source}",
                    lambda check=check: check.run(  # type: ignore[misc]
                        self.settings, run_id, clock, self.transport(check.source)
                    ),
                    machine_clock,
                )
                for check in sources
            )
        )
        for result in asked:
            self.tell(result)
        results += asked
        skews = [skew for check in sources for skew in check.skews_s]
        records = [record for check in sources for record in check.records]
        await self._store_checks(one, run_id, records, skews)
        await one("clock", lambda: check_clock(skews, offset_s=self.settings.clock_offset_s))
        return results

    async def _store_checks(
        self,
        one: Callable[[str, Callable[[], Awaitable[Finding]]], Awaitable[CheckResult]],
        run_id: str,
        records: list[Record],
        skews: list[float],
    ) -> None:
        """Make the checks of Supabase; what rests on a failed one is not tried."""
        checks: list[StoreCheck] = []
        with ExitStack() as stack:

            async def reach() -> Finding:
                # Nothing else is under way, so the loop may be kept waiting for a start.
                endpoint = stack.enter_context(self._supabase())
                checks.append(StoreCheck(endpoint, self.make_store, SystemClock()))
                return await checks[0].reach()

            failed = "supabase" if await _failed(one("supabase", reach)) else None
            for name in STORE_CHECKS:
                if failed is not None:
                    await one(name, _not_tried(failed))
                elif await _failed(one(name, self._store_work(checks[0], name, run_id, records))):
                    failed = name
        for check in checks:
            skews += check.skews_s

    def _store_work(
        self, check: StoreCheck, name: str, run_id: str, records: list[Record]
    ) -> Callable[[], Awaitable[Finding]]:
        match name:
            case "supabase key":
                return check.key
            case "migrations":
                return check.migrations
            case "write right":
                return check.writing
            case _:
                return lambda: check.iteration(self.home, run_id, records)

    def _supabase(self) -> AbstractContextManager[SupabaseEndpoint]:
        # One that is up is judged as it is; one that we start is migrated, as at every start.
        layout = Layout.of(self.home, self.packages)
        is_up = not self.settings.hosted and find_running(layout) is not None
        return attach_or_start(
            self.settings,
            migrate=None if is_up else migrate,
            packages=self.packages,
            progress=self.progress,
        )

    async def _sites(self) -> Finding:
        path = find_sites(self.settings.sites, self.folder)
        if path is None:
            return ok("no sites.toml: figures are collected, nothing is placed")
        found = load_sites(path).organisations
        sites = sum(len(organisation.sites) for organisation in found)
        return ok(f"{len(found)} organisations with {sites} sites in {path}")


async def _failed(result: Awaitable[CheckResult]) -> bool:
    return (await result).status is CheckStatus.FAIL


def _not_tried(after: str) -> Callable[[], Awaitable[Finding]]:
    async def say() -> Finding:
        return fail(f"not tried, because {after!r} failed", "mend that one first")

    return say
