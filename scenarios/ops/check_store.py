"""Is Supabase there, is the key right, are the migrations in, may we write; and the whole way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from uuid import uuid4

from scenarios.ops.findings import Finding, fail, ok, warn
from schema.clock import Clock
from schema.errors import SchemaBehind
from schema.rows import Record
from storage.embedded.endpoint import SupabaseEndpoint
from storage.migrations import load_migrations
from storage.probe import probe_supabase
from storage.throwaway import ForgetfulStore, pass_through

SKEW_WARN_S, SKEW_FAIL_S = 10.0, 120.0
_KEY_HINT = (
    "set SUPABASE_KEY to the project's secret key (Project Settings, API Keys, sb_secret_…); the "
    "publishable one may not write"
)
_MIGRATE = "run `run_cluster.py db migrate`, or paste `run_cluster.py db print` into the SQL editor"

MakeStore = Callable[[SupabaseEndpoint], ForgetfulStore]


@dataclass(slots=True)
class StoreCheck:
    """The checks of one Supabase, one after the other: each rests on those before it.

    Attributes:
        endpoint: Which.
        make_store: Makes a client of it.
        clock: The machine's own clock, not the moved one of the settings.
        skews_s: By how many seconds its clock was ahead of ours.
    """

    endpoint: SupabaseEndpoint
    make_store: MakeStore
    clock: Clock
    skews_s: list[float] = field(default_factory=list)

    async def reach(self) -> Finding:
        """See that it answers at all, whatever it says."""
        found = await probe_supabase(self.endpoint.url, self.endpoint.secret_key)
        if found.server_time is not None and self.endpoint.mode == "hosted":
            # The embedded one has the clock of this machine.
            self.skews_s.append((found.server_time - self.clock.now()).total_seconds())
        return ok(f"{self.endpoint.mode}, {self.endpoint.url}")

    async def key(self) -> Finding:
        """See that it takes our key, and that it is the secret one."""
        found = await probe_supabase(self.endpoint.url, self.endpoint.secret_key)
        if found.key_refused:
            return fail(f"the key is refused ({found.status}): {found.said}", _KEY_HINT)
        return ok("accepted")

    async def migrations(self) -> Finding:
        """See that the database has every migration of this program."""
        wanted = int(load_migrations()[-1].version)
        store = self.make_store(self.endpoint)
        try:
            found = await store.schema_version()
        except SchemaBehind:
            return fail("the database has none of our migrations", _MIGRATE)
        finally:
            await store.close()
        if found < wanted:
            return fail(
                f"the database has migration {found}, this program needs {wanted}", _MIGRATE
            )
        if found > wanted:
            return warn(
                f"the database has migration {found}, this program knows {wanted}",
                "update this program: a newer one has been at work on the database",
            )
        return ok(f"all {wanted} applied")

    async def writing(self) -> Finding:
        """See that we may write; no row is sent, and who may not is refused all the same."""
        store = self.make_store(self.endpoint)
        try:
            await store.ingest({})
        finally:
            await store.close()
        return ok("rows are taken")

    async def iteration(self, home: Path, run_id: str, records: Sequence[Record]) -> Finding:
        """Send what the sources said through a spool into the database, and delete it again."""
        folder = Path(tempfile.mkdtemp(prefix=".check-", dir=home))
        janitor = self.make_store(self.endpoint)
        try:
            passed = await pass_through(
                self.make_store(self.endpoint), janitor, folder, run_id, records, clock=self.clock
            )
        finally:
            await janitor.close()
            shutil.rmtree(folder, ignore_errors=True)
        total = sum(passed.rows.values())
        said = f"{total:,} rows of {len(passed.rows)} tables stored, counted and deleted again"
        facts = total - passed.rows.get("api_logs", 0)
        if not facts:
            return warn(f"{said}; no source had rows to send", "mend the sources above first")
        return ok(said)


def new_run() -> str:
    """Mint the id of a throw-away run."""
    return str(uuid4())


async def check_clock(skews_s: Sequence[float], *, offset_s: float) -> Finding:
    """See that this machine's clock agrees with those of the servers that told theirs.

    Args:
        skews_s: By how many seconds each server's clock was ahead of ours.
        offset_s: By how much the settings move our clock on purpose.
    """
    if offset_s:
        return ok(f"moved by {offset_s:,.0f} s on purpose (GRIDPACT_CLOCK_OFFSET_S)")
    if not skews_s:
        return warn(
            "no server told its time, so the clock could not be compared",
            "see that the clock of this machine is set by a time server",
        )
    skew = median(skews_s)
    side = "behind" if skew > 0 else "ahead of"
    said = f"{abs(skew):.1f} s {side} {len(skews_s)} servers"
    if abs(skew) >= SKEW_FAIL_S:
        return fail(said, "set the clock: what is due, signatures and ages go by it")
    if abs(skew) >= SKEW_WARN_S:
        return warn(said, "let a time server set the clock of this machine")
    return ok(said)
