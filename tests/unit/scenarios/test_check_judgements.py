"""How ``check`` judges what it sees: spools, clocks, errors. No server, no network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.ops import check_machine
from scenarios.ops.check_machine import check_disk, judge_spool, judge_spools
from scenarios.ops.check_store import check_clock
from scenarios.ops.findings import CheckStatus, Finding, fail, hint_for, ok, timed, worst
from schema.clock import VirtualClock
from schema.errors import (
    ConfigurationError,
    GridpactError,
    SchemaBehind,
    SourceThrottled,
    SourceUnavailable,
    StorageUnavailable,
)
from schema.periods import parse_instant
from schema.settings import Settings
from storage.spool_file import MIB
from storage.spool_look import SpoolLook, SpoolState

NOW = parse_instant("2026-05-01T10:00Z")
OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


def spool(**figures: Any) -> SpoolLook:
    return SpoolLook(
        **{
            "spool": "embedded",
            "folder": "/x/spool/embedded",
            "state": SpoolState.STOPPED,
            "depth": 0,
            "dead": 0,
            "fill": 0.01,
            **figures,
        }
    )


@pytest.mark.parametrize(
    ("figures", "status", "said"),
    [
        ({}, OK, "0 rows wait"),
        # A quarter of an hour is the limit; a second more is too long.
        ({"depth": 9, "oldest_unsent_s": 900}, OK, "9 rows wait"),
        ({"depth": 9, "oldest_unsent_s": 901}, WARN, "the oldest for 901 s"),
        ({"dead": 2}, WARN, "2 put aside"),
        ({"fill": 0.70}, WARN, "70 % full"),
        ({"fill": 0.85}, FAIL, "85 % full"),
        ({"state": SpoolState.HELD, "held_by": "17", "depth": None}, OK, "in use by process 17"),
        # Told at most a minute ago; one second more and its process may hang.
        ({"held_by": "17", "as_of": "2026-05-01T09:59:00Z"}, OK, "in use by process 17"),
        ({"held_by": "17", "as_of": "2026-05-01T09:58:59Z"}, WARN, "61 s ago"),
        ({"as_of": "2026-05-01T09:00:00Z"}, OK, "0 rows wait"),
        ({"errors": ["Supabase refused our key"]}, FAIL, "Supabase refused our key"),
    ],
)
def test_a_spool_is_judged_by_age_dead_rows_and_fill(
    figures: dict[str, Any], status: CheckStatus, said: str
) -> None:
    found = judge_spool(spool(**figures), NOW)
    assert (found.status, said in found.detail) == (status, True), found
    assert bool(found.hint) == (status is not OK)


def test_rows_that_wait_for_another_database_are_not_forgotten() -> None:
    found = judge_spools(
        [spool()], [spool(spool="0123456789ab", depth=7), spool(spool="empty")], NOW
    )
    assert found.status is WARN
    assert "empty" not in found.detail
    assert "0123456789ab (7 rows)" in found.detail


def test_the_gravest_of_several_spools_decides_and_all_are_told() -> None:
    assert judge_spools([], [], NOW).status is OK
    found = judge_spools([spool(), spool(spool="embedded-live", fill=0.9)], [], NOW)
    assert (found.status, found.hint.startswith("see that Supabase")) == (FAIL, True)
    assert "embedded: 0 rows wait" in found.detail
    assert "embedded-live: " in found.detail


@pytest.mark.parametrize(
    ("skews_s", "status"),
    [
        ([], WARN),
        ([0.4, -0.2], OK),
        ([-9.9], OK),
        ([10.0], WARN),
        ([-119.0, -119.0], WARN),
        ([120.0], FAIL),
        # One server with a wrong clock among three says nothing about ours.
        ([0.1, 0.3, 86_400.0], OK),
    ],
)
async def test_the_clock_is_compared_with_most_servers(
    skews_s: list[float], status: CheckStatus
) -> None:
    assert (await check_clock(skews_s, offset_s=0.0)).status is status


async def test_a_clock_moved_on_purpose_is_not_compared() -> None:
    found = await check_clock([86_400.0], offset_s=-86_400.0)
    assert (found.status, "on purpose" in found.detail) == (OK, True)


@pytest.mark.parametrize(("free_mib", "status"), [(63, FAIL), (500, WARN), (572, OK)])
async def test_a_disk_must_hold_a_full_spool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_mib: int, status: CheckStatus
) -> None:
    # 512 MiB, a tenth more for the drain, and 8 MiB of ballast: 571.2 MiB.
    usage = SimpleNamespace(total=0, used=0, free=free_mib * MIB)
    monkeypatch.setattr(check_machine.shutil, "disk_usage", lambda _home: usage)
    monkeypatch.setattr(check_machine, "file_system_of", lambda _home: "ext4")
    assert (await check_disk(tmp_path, Settings(_env_file=None))).status is status  # type: ignore[call-arg]


async def test_a_disk_that_forgets_is_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check_machine, "file_system_of", lambda _home: "tmpfs")
    found = await check_disk(tmp_path, Settings(_env_file=None))  # type: ignore[call-arg]
    assert (found.status, "tmpfs" in found.detail) == (WARN, True)


async def test_ray_in_any_other_mode_than_token_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert (await check_machine.check_ray(tmp_path)).status is FAIL


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SchemaBehind("x"), "db migrate"),
        (ConfigurationError("x"), "config show"),
        (SourceThrottled("x"), "wait"),
        (SourceUnavailable("x"), "network"),
        (StorageUnavailable("x"), "paused"),
        (GridpactError("x"), "troubleshooting"),
    ],
)
def test_every_error_comes_with_something_to_do(error: GridpactError, said: str) -> None:
    assert said in hint_for(error)


async def test_whatever_a_check_raises_is_its_finding_and_its_time_is_kept() -> None:
    clock = VirtualClock(parse_instant("2026-05-01T10:00Z"))

    async def ours() -> Finding:
        await clock.sleep(1.5)
        raise StorageUnavailable("away")

    async def surprise() -> Finding:
        raise KeyError("field")

    first = await timed("supabase", ours, clock)
    assert (first.status, first.detail, first.seconds) == (FAIL, "away", 1.5)
    second = await timed("ray", surprise, clock)
    assert (second.status, "KeyError" in second.detail) == (FAIL, True)


async def test_the_worst_finding_decides() -> None:
    clock = VirtualClock(parse_instant("2026-05-01T10:00Z"))

    async def fine() -> Finding:
        return ok("x")

    async def bad() -> Finding:
        return fail("x", "y")

    good, broken = await timed("a", fine, clock), await timed("b", bad, clock)
    assert worst([good]) is OK
    assert worst([good, broken, good]) is FAIL
