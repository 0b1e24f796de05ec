"""Work that users submit through Supabase is placed by the live run, and is theirs alone to see."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from embedded_fixtures import EmbeddedServer
from live_stepping import RUN, Stepped, stepped
from supabase import Client, create_client
from supabase.lib.client_options import SyncClientOptions
from upstream_fixtures import scenario_once

import run_cluster
from agents.core.audit import audit
from scenarios.live.sites import organisation_sources
from schema.periods import format_instant
from storage.memory import MemoryStore
from storage.supabase_store import SupabaseStore

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]

SCENARIO = "windy-night"
#: In mid half hour: nothing may start before the next one.
START = scenario_once(SCENARIO).start + timedelta(minutes=72)
MINUTE = timedelta(minutes=1)
SITES = """
[[organisations]]
name = "north"
sites = [{ name = "leeds", region_id = 5, capacity_kw = 10 }]
"""
Row = dict[str, Any]


def token_of(user: str, secret: str) -> str:
    """Sign what Supabase Auth would sign for a user."""

    def part(content: object) -> str:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": user, "role": "authenticated", "aud": "authenticated"}
    text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({**claims, 'exp': now + 600})}"
    return f"{text}.{part(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


class User:
    """A person with an account, who uses supabase-py."""

    def __init__(self, server: EmbeddedServer) -> None:
        key = server.endpoint.publishable_key
        assert key is not None
        self.id = str(uuid4())
        token = token_of(self.id, server.state.jwt_secret)
        options = SyncClientOptions(
            headers={"Authorization": f"Bearer {token}"},
            # supabase-py warns of its own default unless it is given a client.
            httpx_client=httpx.Client(timeout=30, trust_env=False),
        )
        self._client: Client = create_client(server.endpoint.url, key, options)
        self._http = options.httpx_client

    def close(self) -> None:
        assert self._http is not None
        self._http.close()

    def submit(self, name: str, **columns: Any) -> Row:
        answer = self._client.table("compute_workloads").insert(workload(name, **columns))
        (row,) = answer.execute().data
        return cast("Row", row)

    def cancel(self, name: str) -> None:
        table = self._client.table("compute_workloads")
        table.update({"status": "cancelled"}).eq("workload_name", name).execute()

    def rows(self, table: str) -> list[Row]:
        found = self._client.table(table).select("*").execute().data
        return cast("list[Row]", found)

    def workload(self, name: str) -> Row:
        (row,) = [row for row in self.rows("compute_workloads") if row["workload_name"] == name]
        return row


def workload(name: str, **columns: Any) -> Row:
    """An hour of 10 kW in the region of the only site, some time in the next eight hours."""
    return {
        "agent_name": "north",
        "workload_name": name,
        "power_kw": 10,
        "duration_min": 60,
        "earliest_start": format_instant(START),
        "deadline": format_instant(START + timedelta(hours=8)),
        "allowed_regions": [5],
        "delay_cost_gbp_per_kwh_h": 0.125,
        **columns,
    }


class Place:
    """Where live runs of these tests leave their rows."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server, self._folder = server, folder
        self._sites = folder / "sites.toml"
        self._sites.write_text(SITES)
        self._spools = 0

    def live(self) -> AbstractAsyncContextManager[Stepped]:
        """Start a live run whose spool and state are new: those before are lost."""
        self._spools += 1
        endpoint = self.server.endpoint
        return stepped(
            scenario_once(SCENARIO),
            START,
            self._folder / f"home-{self._spools}",
            interval_s=1800.0,
            organisations=organisation_sources(self._sites),
            store=cast("MemoryStore", SupabaseStore(endpoint.url, endpoint.secret_key)),
        )

    async def rows(self, table: str) -> list[Row]:
        """Read all rows of the run as the service role."""
        from storage.ports import equal

        endpoint = self.server.endpoint
        store = SupabaseStore(endpoint.url, endpoint.secret_key)
        try:
            return cast("list[Row]", await store.select(table, filters=[equal("run_id", RUN)]))
        finally:
            await store.close()

    async def remove(self) -> None:
        from storage.ports import equal

        endpoint = self.server.endpoint
        store = SupabaseStore(endpoint.url, endpoint.secret_key)
        try:
            await store.delete_runs([equal("id", RUN)])
        finally:
            await store.close()


@pytest.fixture
def ada(supabase_server: EmbeddedServer) -> Iterator[User]:
    user = User(supabase_server)
    yield user
    user.close()


@pytest.fixture
def bob(supabase_server: EmbeddedServer) -> Iterator[User]:
    user = User(supabase_server)
    yield user
    user.close()


@pytest.fixture
def place(supabase_server: EmbeddedServer, tmp_path: Path) -> Iterator[Place]:
    made = Place(supabase_server, tmp_path)
    yield made
    asyncio.run(made.remove())


async def ticks(live: Stepped, first: datetime, count: int) -> None:
    """Let some minutes pass, and see that everything has reached the database."""
    for minute in range(count):
        await live.iterate(first + minute * MINUTE)
        await live.stage.drain(60)


async def command(place: Place, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command as whoever has the secret key does."""
    endpoint = place.server.endpoint
    monkeypatch.setenv("SUPABASE_URL", endpoint.url)
    monkeypatch.setenv("SUPABASE_KEY", endpoint.secret_key)
    return await asyncio.to_thread(run_cluster.run, list(arguments))


async def test_a_users_work_is_placed_after_two_ticks_and_is_its_own_to_see(
    place: Place, ada: User, bob: User
) -> None:
    async with place.live() as live:
        await ticks(live, START, 1)
        made = ada.submit("train-1")
        assert (made["status"], made["owner"], made["run_id"]) == ("submitted", ada.id, RUN)
        await ticks(live, START + MINUTE, 2)

        row = ada.workload("train-1")
        assert row["status"] == "awarded", row["status_reason"]
        (slot,) = ada.rows("workload_schedules")
        assert slot["asset_name"] == "leeds"
        # 13:12 and a minute or two: the half hour from 13:00 has begun.
        assert datetime.fromisoformat(slot["starts_at"]) >= START + timedelta(minutes=18)
        words = ada.rows("agent_negotiations")
        assert {word["performative"] for word in words} == {"propose", "accept-proposal"}
        assert "0.125" not in json.dumps(words), "what waiting costs is in no message"
        for table in ("compute_workloads", "workload_schedules", "agent_negotiations"):
            assert bob.rows(table) == []


async def test_bad_work_is_answered_in_its_row_and_work_called_off_makes_room(
    place: Place, ada: User
) -> None:
    soon = format_instant(START + timedelta(hours=1, minutes=30))
    async with place.live() as live:
        await ticks(live, START, 1)
        ada.submit("doubled", allowed_regions=[5, 5])
        ada.submit("first", deadline=soon)
        await ticks(live, START + MINUTE, 2)
        ada.submit("second", deadline=soon)
        await ticks(live, START + 3 * MINUTE, 2)

        bad = ada.workload("doubled")
        assert bad["status"] == "refused"
        assert bad["status_reason"] == "allowed_regions [5, 5] names a region twice"
        # 10 kW for an hour between 13:30 and 14:42 is all that the site can do.
        assert ada.workload("first")["status"] == "awarded"
        waiting = ada.workload("second")
        assert (waiting["status"], waiting["status_reason"] is not None) == ("registered", True)

        ada.cancel("first")
        await ticks(live, START + 5 * MINUTE, 2)
        gone = ada.workload("first")
        assert (gone["status"], gone["status_reason"]) == ("cancelled", "cancelled by its owner")
        assert ada.workload("second")["status"] == "awarded"
        (word,) = [w for w in ada.rows("agent_negotiations") if w["performative"] == "cancel"]
        assert (word["sender"], word["workload_name"]) == ("north", "first")
    assert await violations(place) == []


async def test_a_file_goes_in_from_the_command_line_and_is_called_off_there(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(place._folder) / "work.csv"
    header = (
        "workload_id,power_kw,duration_min,earliest_start,deadline,regions,interruptible,"
        "home_region,delay_cost_gbp_per_kwh_h,refusal_value_gbp"
    )
    times = f"{format_instant(START)},{format_instant(START + timedelta(hours=8))}"
    file.write_text(f"{header}\na,5,60,{times},5,false,,,\nb,5,60,{times},5,false,,,\n")
    submit = ("submit", str(file), "--agent")
    async with place.live() as live:
        await ticks(live, START, 1)
        assert await command(place, monkeypatch, *submit, "nort") == 2
        assert "did you mean 'north'? it has north" in " ".join(capsys.readouterr().err.split())
        assert await command(place, monkeypatch, *submit, "north", "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["submitted"] == 2
        assert await command(place, monkeypatch, *submit, "north") == 2
        assert "is there already for north (submitted)" in capsys.readouterr().err
        await ticks(live, START + MINUTE, 1)

        assert await command(place, monkeypatch, "cancel", "north/b", "--json") == 0
        assert json.loads(capsys.readouterr().out)["status"] == "cancelled"
        assert await command(place, monkeypatch, "cancel", "nothing") == 2
        assert "has no workload 'nothing'" in capsys.readouterr().err
        await ticks(live, START + 2 * MINUTE, 2)
        found = {row["workload_name"]: row for row in await place.rows("compute_workloads")}
        assert {name: row["status"] for name, row in found.items()} == {
            "a": "awarded",
            "b": "cancelled",
        }
        assert found["b"]["status_reason"] == "cancelled by its owner"
        assert {row["id"] for row in answer["workloads"]} == {row["id"] for row in found.values()}
    assert await violations(place) == []


async def test_a_live_run_whose_disk_was_lost_goes_on_from_the_database(
    place: Place, ada: User
) -> None:
    async with place.live() as live:
        await ticks(live, START, 1)
        ada.submit("before", earliest_start=format_instant(START + timedelta(hours=4)))
        await ticks(live, START + MINUTE, 2)
        assert ada.workload("before")["status"] == "awarded"
    first = await place.rows("agent_negotiations")
    async with place.live() as live:
        ada.submit("after")
        await ticks(live, START + timedelta(minutes=10), 2)
        assert {row["status"] for row in ada.rows("compute_workloads")} == {"awarded"}
    both = await place.rows("agent_negotiations")
    # Nothing that was said before was said over.
    kept = {row["id"]: row for row in both}
    assert [row for row in first if kept[row["id"]] != row] == []
    assert len({row["conversation_id"] for row in both}) > len(
        {row["conversation_id"] for row in first}
    )
    assert await violations(place) == []


async def violations(place: Place) -> list[str]:
    """Hold the run's log against its schedule."""
    names = (
        "agent_negotiations",
        "compute_workloads",
        "workload_schedules",
        "compute_windows",
        "compute_assets",
    )
    report = audit(*[await place.rows(name) for name in names])
    return [str(item) for item in report.violations]
