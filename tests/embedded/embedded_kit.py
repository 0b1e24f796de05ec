"""Tables of our own for an embedded server, and small helpers to talk to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from embedded_fixtures import PACKAGES

from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import Layout
from storage.embedded.processes import command_line

PROBE_SQL = """
create table public.readings (
    id int primary key,
    at timestamptz,
    local_at timestamp,
    amount numeric check (amount < 1000),
    doc jsonb,
    secret text
);
alter table public.readings enable row level security;
create policy everyone_reads on public.readings for select to anon using (true);
grant select on public.readings to anon;
grant select, insert, update, delete on public.readings to service_role;

create table public.workloads (id int primary key, owner uuid not null, name text);
alter table public.workloads enable row level security;
create policy owner_reads on public.workloads for select to authenticated
    using (owner = auth.uid());
create policy owner_inserts on public.workloads for insert to authenticated
    with check (owner = auth.uid());
grant select, insert on public.workloads to authenticated;
grant select, insert, delete on public.workloads to service_role;

create function public.kind_of(p_value jsonb) returns text language sql
    set search_path = '' as $$ select jsonb_typeof(p_value) $$;
create function public.double_of(p_number int) returns int language sql
    set search_path = '' as $$ select 2 * p_number $$;
create function public.fail_with(p_code text) returns void language plpgsql
    set search_path = '' as $$
begin
    raise exception 'planned failure' using errcode = p_code, detail = 'a detail', hint = 'a hint';
end $$;
create function public.slow_insert(p_first int, p_count int) returns void language sql
    set search_path = '' as $$
    insert into public.readings (id, amount)
        select p_first + n, n % 7 from generate_series(0, p_count - 1) as n
        where pg_catalog.pg_sleep(0.001) is not null
$$;
"""


@dataclass(frozen=True)
class Api:
    """An API and one key."""

    url: str
    key: str
    token: str | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"apikey": self.key, **(headers or {})}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        return httpx.request(
            method, f"{self.url}{path}", headers=sent, json=json, timeout=20, trust_env=False
        )

    def rpc(self, name: str, **arguments: object) -> httpx.Response:
        return self.call("POST", f"/rest/v1/rpc/{name}", json=arguments)


def service(endpoint: SupabaseEndpoint) -> Api:
    return Api(endpoint.url, endpoint.secret_key)


def public(endpoint: SupabaseEndpoint, token: str | None = None) -> Api:
    assert endpoint.publishable_key is not None
    return Api(endpoint.url, endpoint.publishable_key, token)


def sign(claims: dict[str, object], secret: str) -> str:
    """Make an HS256 token as Supabase's auth server does."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps(claims).encode())
    mac = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{part(mac)}"


def user_token(user: str, secret: str, lifetime_s: int = 600) -> str:
    now = int(time.time())
    claims = {"sub": user, "role": "authenticated", "aud": "authenticated"}
    return sign({**claims, "iat": now, "exp": now + lifetime_s}, secret)


def run_sql(url: str, text: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


def make_probe_tables(database_url: str) -> None:
    """Be a migration hook; finds its tables there on a second start."""
    if run_sql(database_url, "select to_regclass('public.readings') is null")[0][0]:
        run_sql(database_url, PROBE_SQL)


def listeners(*pids: int) -> set[str]:
    """Give the local addresses, hexadecimal, on which these processes listen (TCP)."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].split(":")[0])
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 15) -> float:
    """Wait for a condition; gives the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - start


def remove_data(home: Path) -> None:
    """Delete what lies outside of the home when root runs the tests."""
    shutil.rmtree(Layout.of(home, PACKAGES).data.parent, ignore_errors=True)


def processes_of(home: Path) -> list[int]:
    """Give the processes whose command line names a home's data folder."""
    wanted = str(Layout.of(home, PACKAGES).data)
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if wanted in command_line(pid)]
