"""Replays as a user runs them, through Ray into Supabase, with and without accidents.

One home and one Supabase for all of them, and as few runs as will do: an interrupted one, a plain
one that picks up what the first left and is looked at while it runs, one whose actors are killed.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from process_kit import MINI, PASSED_ON, Launched, environment_of, waiting_rows
from replay_world import World

from agents.listeners import Listener, listeners, process_tree

pytestmark = [pytest.mark.ray, pytest.mark.embedded, pytest.mark.timeout(600)]

#: The interface of design §6, and beside it the processes that held workloads.
KEYS = {
    "": "run_id scenario seed digest ticks wall_s sources workloads negotiation carbon rows"
    " supabase shards",
    "workloads": "registered awarded refused missed_deadlines",
    "negotiation": "conversations rounds messages largest worst_gap",
    "carbon": "baseline_kg scheduled_kg avoided_kg avoided_pct rescored_kg rescored_baseline_kg",
    "sources": "carbon_intensity neso elexon beckn",
    "supabase": "mode url",
}
STOP_WITHIN_S = 10.0

JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], namespace="gridpact", log_to_driver=False)
print("named actors:", *sorted(ray.util.list_named_actors()))
ray.shutdown()
"""


@dataclass(frozen=True)
class Interrupted:
    """A replay that was ended by Ctrl-C while Supabase did not answer."""

    run_id: str
    waiting: int
    code: int
    err: str
    stopped_after_s: float
    left: list[str]


@dataclass(frozen=True)
class Seen:
    """A replay that went well, and what was seen while it ran."""

    outcome: dict[str, Any]
    listeners: list[Listener]
    ss: str
    secret_in: list[str]
    state_files: list[int]
    temp_mode: int
    with_token: subprocess.CompletedProcess[str]
    other_token: subprocess.CompletedProcess[str]
    no_token: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def interrupted(world: World) -> Interrupted:
    """Interrupt a replay in its midst, with rows on their way."""
    gate = world.gate
    before = gate.ingests
    launched = world.launch("replay", MINI, "--json")
    launched.until("some rows in Supabase", lambda: gate.ingests >= before + 3)
    gate.hold()
    launched.until("a reply on its way", lambda: gate.held_back)
    launched.until("a decision", lambda: _messages_waiting(world.home))
    pressed = time.monotonic()
    launched.interrupt()
    finished = launched.wait(60)
    stopped_after_s = time.monotonic() - pressed
    gate.release()
    ((run_id, waiting),) = waiting_rows(world.home).items()
    return Interrupted(
        run_id, waiting, finished.code, finished.err, stopped_after_s, launched.left_running()
    )


def _messages_waiting(home: Path) -> bool:
    return sum(waiting_rows(home).values()) > 500


@pytest.fixture(scope="session")
def plain(world: World, interrupted: Interrupted) -> Seen:
    """Replay from beginning to end; looked at while its last replies are held back."""
    gate = world.gate
    before = gate.ingests
    launched = world.launch("replay", MINI, "--json")
    launched.until("an orchestrator", lambda: launched.actors("OrchestratorShell"))
    launched.until("some rows in Supabase", lambda: gate.ingests >= before + 3)
    gate.hold()
    tree = process_tree(launched.pid)
    address = _gcs_address(launched)
    token = str(world.home / "ray" / "token")
    other = world.folder / "other-token"
    other.write_text("0" * 64)
    other.chmod(0o600)
    temp = _temp_parent(launched)
    with ThreadPoolExecutor(3) as pool:
        joins = {
            "with_token": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token},
            "other_token": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(other)},
            "no_token": {"RAY_AUTH_MODE": "disabled"},
        }
        answers = {name: pool.submit(_join, address, **how) for name, how in joins.items()}
    seen: dict[str, Any] = {
        "listeners": listeners(tree),
        "ss": _ss(tree),
        "secret_in": _secret_in(launched, world, temp),
        "state_files": _modes(world.home.rglob("hosted-*.json")),
        "temp_mode": stat.S_IMODE(temp.stat().st_mode),
        **{name: answer.result() for name, answer in answers.items()},
    }
    gate.release()
    finished = launched.wait()
    assert launched.left_running() == []
    return Seen(finished.json(), **seen)


# -- a plain run -----------------------------------------------------------------------------------


def test_a_replay_answers_with_the_promised_document(plain: Seen) -> None:
    outcome = plain.outcome
    for part, names in KEYS.items():
        found = outcome[part] if part else outcome
        assert list(found) == names.split(), part
    assert set(outcome["sources"]["neso"]) == {"requests", "rows", "fallbacks"}
    assert set(outcome["negotiation"]["largest"]) == {"workloads", "cost_gbp", "bound_gbp", "gap"}
    assert outcome["workloads"] == {
        "registered": 60,
        "awarded": 60,
        "refused": 0,
        "missed_deadlines": 0,
    }
    assert (outcome["scenario"], outcome["seed"], outcome["ticks"]) == ("mini", 3, 12)


def test_every_table_is_fed(plain: Seen, world: World) -> None:
    # 22 tables; uk_regions is seeded and belongs to no run.
    tables = world.rows(plain.outcome["run_id"])
    assert len(tables) == 21
    assert [name for name, rows in tables.items() if not rows] == []
    assert plain.outcome["rows"] == {name: len(rows) for name, rows in tables.items()}


def test_ray_and_supabase_decide_nothing(
    plain: Seen, digest_in_process: Callable[..., str]
) -> None:
    assert plain.outcome["digest"] == digest_in_process(MINI)


def test_one_process_an_organisation(plain: Seen) -> None:
    assert [part["agent"] for part in plain.outcome["shards"]] == ["north", "south"]
    _distinct_and_busy(plain.outcome)


# -- what others can reach -------------------------------------------------------------------------


def test_only_loopback_listens_while_it_runs(plain: Seen) -> None:
    # Ray's control store, node manager, object manager, agents and each worker.
    assert len(plain.listeners) >= 10
    assert [item for item in plain.listeners if not item.loopback] == []


def test_the_systems_own_tool_sees_loopback_alone(plain: Seen) -> None:
    if not plain.ss:
        pytest.skip("ss is not installed")
    local = [line.split()[3].rpartition(":")[0] for line in plain.ss.splitlines()]
    assert len(local) >= 10
    assert set(local) <= {"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"}


def test_a_client_with_the_token_may_join(plain: Seen) -> None:
    assert plain.with_token.returncode == 0, plain.with_token.stderr
    assert "orchestrator" in plain.with_token.stdout


def test_a_client_without_the_token_may_not(plain: Seen) -> None:
    for refused in (plain.other_token, plain.no_token):
        assert refused.returncode != 0
        assert "named actors" not in refused.stdout
        assert "uthenticat" in refused.stderr or "oken" in refused.stderr


def test_nobody_else_may_enter_the_temporary_folder(plain: Seen) -> None:
    assert plain.temp_mode == 0o700


def test_the_key_is_in_no_worker_and_in_no_file_but_its_own(plain: Seen) -> None:
    assert plain.secret_in == []
    assert plain.state_files == [0o600]


# -- accidents -------------------------------------------------------------------------------------


def test_ctrl_c_in_mid_replay_stops_everything_in_time(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.err
    assert interrupted.stopped_after_s < STOP_WITHIN_S
    assert interrupted.left == []
    assert interrupted.err.strip() == "interrupted"


def test_what_an_interrupted_run_left_in_the_spool_arrives_with_the_next(
    interrupted: Interrupted, plain: Seen, world: World
) -> None:
    assert interrupted.waiting > 500
    assert interrupted.run_id != plain.outcome["run_id"]
    assert waiting_rows(world.home) == {}
    rows = world.rows(interrupted.run_id)
    assert sum(len(found) for found in rows.values()) >= interrupted.waiting
    assert '"state": "interrupted"' in rows["scenario_runs"][0]


def test_killed_actors_change_nothing(plain: Seen, world: World) -> None:
    """The orchestrator is killed as it negotiates, twice, and all others at a bad moment.

    Storage's is when rows were sent and not confirmed.
    """
    gate = world.gate
    before, confirmed = gate.ingests, world.confirmed()
    launched = world.launch("replay", MINI, "--json", "--shards", "2")
    launched.until("a conversation", lambda: launched.actors("OrchestratorShell.tick"))
    launched.kill("ComputeShell")
    first = launched.actors("OrchestratorShell")
    launched.kill("OrchestratorShell")
    launched.until(
        "a conversation again",
        lambda: set(launched.actors("OrchestratorShell.tick")) - set(first),
    )
    launched.until("some rows in Supabase", lambda: gate.ingests >= before + 2)
    gate.hold()
    launched.until("a reply held back", lambda: gate.held_back)
    assert sum(waiting_rows(world.home).values()) > 0
    launched.kill("StorageActor")
    gate.release()
    launched.until("storage again", lambda: launched.actors("StorageActor"))
    # A fetcher that holds orders has something to forget.
    launched.until("a window booked", lambda: world.confirmed() > confirmed)
    launched.kill_all("FetcherActor")
    launched.until("a later conversation", lambda: launched.actors("OrchestratorShell.tick"))
    launched.kill("OrchestratorShell")
    finished = launched.wait()
    assert launched.left_running() == []
    outcome = finished.json()
    assert outcome["digest"] == plain.outcome["digest"]
    _distinct_and_busy(outcome)
    assert len(outcome["shards"]) == 2 * 2
    killed, calm = (world.rows(run["run_id"]) for run in (outcome, plain.outcome))
    # The calm run had one process an organisation; here each has another, named as its shard.
    shards = [row for row in killed["agents"] if '"kind": "shard"' in row]
    assert len(shards) == 2
    killed["agents"] = [row for row in killed["agents"] if row not in shards]
    # A fetcher that was started anew asks for more, or again; the log of requests says so.
    logs = [_by_source(rows.pop("api_logs")) for rows in (killed, calm)]
    assert logs[0].keys() == logs[1].keys()
    _same_rows(killed, calm)


@pytest.mark.long
def test_another_seed_in_four_shards_decides_as_in_one_process(
    plain: Seen, world: World, digest_in_process: Callable[..., str]
) -> None:
    outcome = world.run("replay", MINI, "--json", "--shards", "4", "--seed", "4").json()
    assert outcome["digest"] == digest_in_process(MINI, 4)
    assert outcome["digest"] != plain.outcome["digest"]
    assert len(outcome["shards"]) == 2 * 4
    _distinct_and_busy(outcome)


def _by_source(rows: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(json.loads(row)["source"], []).append(row)
    return found


def _same_rows(found: dict[str, list[str]], wanted: dict[str, list[str]]) -> None:
    differing = {
        name: (sorted(set(found[name]) - set(rows))[:2], sorted(set(rows) - set(found[name]))[:2])
        for name, rows in wanted.items()
        if found[name] != rows
    }
    assert differing == {}, json.dumps(differing, indent=1)


def _distinct_and_busy(outcome: dict[str, Any]) -> None:
    parts = outcome["shards"]
    assert len({part["pid"] for part in parts}) == len(parts)
    assert all(part["workloads"] > 0 for part in parts)
    assert sum(part["workloads"] for part in parts) == outcome["workloads"]["registered"]


# -- looking at a run ------------------------------------------------------------------------------


def _gcs_address(launched: Launched) -> str:
    (raylet,) = (line for line in launched.workers().values() if "/raylet/raylet " in line)
    return raylet.split("--gcs-address=")[1].split()[0]


def _temp_parent(launched: Launched) -> Path:
    (raylet,) = (line for line in launched.workers().values() if "/raylet/raylet " in line)
    return Path(raylet.split("--temp_dir=")[1].split()[0]).parent


def _ss(pids: set[int]) -> str:
    try:
        told = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return ""
    return "\n".join(
        line for line in told.splitlines() if any(f"pid={pid}," in line for pid in pids)
    )


def _secret_in(launched: Launched, world: World, temp: Path) -> list[str]:
    """Give where the key can be read, beside the one file that is for it."""
    secret = world.server.endpoint.secret_key
    found = [
        f"process {pid} {line}"
        for pid, line in launched.workers().items()
        if secret in line or secret in environment_of(pid)
    ]
    for folder in (temp, world.home, world.folder):
        for path in folder.rglob("*"):
            meant = path.name.startswith("hosted-")
            if path.is_file() and not meant and secret.encode() in path.read_bytes():
                found.append(str(path))
    return found


def _modes(paths: Any) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


def _join(address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", JOIN, address],
        env={**kept, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
