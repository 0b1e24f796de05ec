"""Starting, dying, restarting and stopping, with real processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from embedded_fixtures import PACKAGES
from embedded_kit import (
    make_probe_tables,
    processes_of,
    remove_data,
    run_sql,
    service,
    wait_until,
)

from storage.embedded.api import probe
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import InstanceHeld, Layout, read_holder
from storage.embedded.processes import is_running
from storage.embedded.state import InstanceState
from storage.embedded.supervisor import EmbeddedSupabase

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parents[2]
RUN_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from storage.embedded.supervisor import EmbeddedSupabase
with EmbeddedSupabase(Path(sys.argv[1]), packages=Path(sys.argv[2])) as supabase:
    print("up", supabase.health().postgres_pid, supabase.health().api_pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give one home to the tests that need none of their own, so that initdb runs once."""
    folder = tmp_path_factory.mktemp("supervisor-home")
    yield folder
    remove_data(folder)


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    remove_data(tmp_path / "home")


@pytest.fixture
def supabase(home: Path) -> Iterator[EmbeddedSupabase]:
    found = EmbeddedSupabase(home, make_probe_tables, packages=PACKAGES)
    yield found
    found.stop()


def run_elsewhere(home: Path) -> subprocess.Popen[str]:
    """Run a supervisor in another process, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN_UNTIL_KILLED, str(home), str(PACKAGES)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def test_a_warm_start_keeps_url_keys_and_rows(supabase: EmbeddedSupabase) -> None:
    first = supabase.start()
    row = {"id": 100, "amount": 1}
    assert service(first).call("POST", "/rest/v1/readings", json=row).status_code == 201
    supabase.stop()
    started = time.monotonic()
    second = supabase.start()
    # 0.6 to 0.8 s on a quiet machine; a cold start would make the database anew.
    assert time.monotonic() - started < 20
    assert second == first
    assert SupabaseEndpoint.load(second.state_file) == first
    [found] = service(second).call("GET", "/rest/v1/readings?id=eq.100").json()
    assert found["amount"] == 1


def test_a_second_start_of_one_object_changes_nothing(supabase: EmbeddedSupabase) -> None:
    first, pids = supabase.start(), supabase.health()
    assert supabase.start() == first
    assert supabase.health() == pids


def test_stop_is_quick_and_leaves_nothing(supabase: EmbeddedSupabase, home: Path) -> None:
    endpoint, before = supabase.start(), supabase.health()
    layout = Layout.of(home, PACKAGES)
    assert read_holder(layout) is not None
    started = time.monotonic()
    supabase.stop()
    assert time.monotonic() - started < 9
    assert before.postgres_pid is not None
    assert before.api_pid is not None
    assert not is_running(before.postgres_pid)
    assert not is_running(before.api_pid)
    assert read_holder(layout) is None
    assert not layout.running.exists()
    with pytest.raises(httpx.ConnectError):
        service(endpoint).call("GET", "/healthz")
    supabase.stop()


def test_stop_does_not_wait_for_long_requests(supabase: EmbeddedSupabase) -> None:
    api = service(supabase.start())

    def write() -> None:
        # About 24 s of work, cut off long before.
        with contextlib.suppress(httpx.TransportError):
            api.rpc("slow_insert", p_first=random.randrange(10**6, 10**9), p_count=20_000)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    started = time.monotonic()
    supabase.stop()
    assert time.monotonic() - started < 9
    writer.join()


def test_a_second_instance_is_refused_and_told_who_has_it(
    supabase: EmbeddedSupabase, home: Path
) -> None:
    endpoint = supabase.start()
    with pytest.raises(InstanceHeld, match=rf"pid {os.getpid()} .*supabase stop") as refused:
        EmbeddedSupabase(home, packages=PACKAGES).start()
    assert refused.value.details["pid"] == os.getpid()
    assert service(endpoint).call("GET", "/healthz").status_code == 200


def test_taken_ports_are_replaced_and_told(home: Path) -> None:
    layout = Layout.of(home, PACKAGES)
    with EmbeddedSupabase(home, make_probe_tables, packages=PACKAGES):
        before = InstanceState.load(layout.state)
    assert before is not None
    told: list[str] = []
    with ExitStack() as stack:
        for port in (before.postgres_port, before.api_port):
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        with EmbeddedSupabase(home, packages=PACKAGES, progress=told.append) as supabase:
            endpoint = supabase.start()
            assert service(endpoint).call("GET", "/rest/v1/readings").status_code == 200
    after = InstanceState.load(layout.state)
    assert after is not None
    assert {after.postgres_port, after.api_port}.isdisjoint({before.postgres_port, before.api_port})
    assert after.with_ports(postgres=before.postgres_port, api=before.api_port) == before
    postgres = (before.postgres_port, "PostgreSQL", after.postgres_port)
    api = (before.api_port, "the Supabase API", after.api_port)
    assert told == [
        f"port {old} is taken by another program; {who} uses {new} now"
        for old, who, new in (postgres, api)
    ]


@pytest.mark.parametrize("victim", ["api", "postgres"])
def test_a_killed_process_under_load_is_replaced(supabase: EmbeddedSupabase, victim: str) -> None:
    endpoint, before = supabase.start(), supabase.health()
    api, first = service(endpoint), random.randrange(10**6, 10**9)
    failures: list[str] = []

    def write() -> None:
        try:
            # About 1.2 s of work: the kill comes in the midst of it.
            answer = api.rpc("slow_insert", p_first=first, p_count=1000)
            failures.append(str(answer.status_code))
        except httpx.TransportError as exc:
            failures.append(type(exc).__name__)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.4)
    pid = before.api_pid if victim == "api" else before.postgres_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    writer.join()
    assert failures[0] not in {"200", "201", "204"}
    state = InstanceState.load(Layout.of(endpoint.state_file.parent.parent, PACKAGES).state)
    assert state is not None

    def serving_again() -> bool:
        health = supabase.health()
        changed = (health.api_pid if victim == "api" else health.postgres_pid) != pid
        return health.serving and changed and probe(state.api_port) is not None

    wait_until(serving_again)
    count = f"select count(*) from public.readings where id between {first} and {first + 1000}"
    assert run_sql(endpoint.database_url or "", count) == [(0,)]
    assert api.rpc("slow_insert", p_first=first, p_count=10).status_code in {200, 204}
    assert run_sql(endpoint.database_url or "", count) == [(10,)]
    assert supabase.health().restarts >= 1
    assert service(supabase.start()).call("GET", "/rest/v1/readings?id=lt.0").status_code == 200


def test_a_killed_supervisor_leaves_an_orphan_that_the_next_start_stops(home: Path) -> None:
    other = run_elsewhere(home)
    assert other.stdout is not None
    with other.stdout:
        _, postgres_pid, api_pid = other.stdout.readline().split()
    other.kill()
    other.wait()
    assert is_running(int(postgres_pid))
    told: list[str] = []
    with EmbeddedSupabase(home, packages=PACKAGES, progress=told.append) as supabase:
        assert told == [
            f"stopping the PostgreSQL that a killed run left behind (pid {postgres_pid}) …"
        ]
        assert not is_running(int(postgres_pid))
        assert not is_running(int(api_pid))
        assert service(supabase.start()).call("GET", "/healthz").status_code == 200


def test_the_api_leaves_when_its_supervisor_is_killed(home: Path) -> None:
    other = run_elsewhere(home)
    assert other.stdout is not None
    with other.stdout:
        api_pid = int(other.stdout.readline().split()[2])
    other.kill()
    other.wait()
    wait_until(lambda: not is_running(api_pid), timeout_s=8)
    with EmbeddedSupabase(home, packages=PACKAGES):
        pass


def test_a_killed_initdb_is_made_again(own_home: Path) -> None:
    other = run_elsewhere(own_home)
    data = Layout.of(own_home, PACKAGES).data
    half_made = data.with_name(data.name + ".new")
    wait_until((half_made / "PG_VERSION").exists)
    for pid in [other.pid, *processes_of(own_home)]:
        os.kill(pid, signal.SIGKILL)
    other.wait()
    assert other.stdout is not None
    other.stdout.close()
    assert half_made.exists()
    assert not data.exists()
    with EmbeddedSupabase(own_home, packages=PACKAGES) as supabase:
        assert run_sql(supabase.start().database_url or "", "select 1") == [(1,)]
    assert not half_made.exists()


@pytest.mark.parametrize("delay_s", [0.3, 1.2])
def test_an_interrupted_start_leaves_nothing_running(own_home: Path, delay_s: float) -> None:
    other = run_elsewhere(own_home)
    time.sleep(delay_s)
    other.send_signal(signal.SIGINT)
    started = time.monotonic()
    other.wait(15)
    assert other.stdout is not None
    other.stdout.close()
    assert time.monotonic() - started < 10
    wait_until(lambda: not processes_of(own_home), timeout_s=3)


def test_a_failed_migration_leaves_nothing_running(own_home: Path) -> None:
    def migrate(_url: str) -> None:
        message = "planned"
        raise RuntimeError(message)

    supabase = EmbeddedSupabase(own_home, migrate, packages=PACKAGES)
    with pytest.raises(RuntimeError, match="planned"):
        supabase.start()
    assert not processes_of(own_home)
    assert read_holder(Layout.of(own_home, PACKAGES)) is None

    # Its state file is lost: nobody knows the password of these data, so they are set aside.
    layout = Layout.of(own_home, PACKAGES)
    layout.state.unlink()
    told: list[str] = []
    with EmbeddedSupabase(own_home, packages=PACKAGES, progress=told.append) as anew:
        assert run_sql(anew.start().database_url or "", "select 1") == [(1,)]
    aside = layout.data.with_name("postgres17.set-aside")
    assert told[0] == f"{layout.data} belongs to a deleted state; kept as {aside}"
    assert (aside / "PG_VERSION").exists()
