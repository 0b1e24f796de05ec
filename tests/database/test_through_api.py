"""The same rights through the REST API, with the keys people get."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from database_kit import body, new_run, run_row, sample_batch, sample_rows
from embedded_fixtures import EmbeddedServer

from schema.ids import row_id
from schema.rows import ALL_TABLES, TABLES, VIEWS, AgentRow

pytestmark = pytest.mark.embedded

CREATED = 201


@dataclass(frozen=True)
class Client:
    """The API with one key, and a user's token perhaps."""

    url: str
    key: str
    token: str | None = None

    def send(self, method: str, path: str, content: Any = None, **headers: str) -> httpx.Response:
        sent = {"apikey": self.key, **headers}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        return httpx.request(
            method,
            f"{self.url}/rest/v1/{path}",
            headers=sent,
            json=content,
            timeout=30,
            trust_env=False,
        )

    def rows(self, path: str) -> list[dict[str, Any]]:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found


def token_of(user: str, secret: str) -> str:
    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": user, "role": "authenticated", "aud": "authenticated"}
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    text = f"{head}.{part(json.dumps({**claims, 'iat': now, 'exp': now + 600}).encode())}"
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{part(mac)}"


@pytest.fixture
def service(supabase_server: EmbeddedServer) -> Client:
    return Client(supabase_server.endpoint.url, supabase_server.endpoint.secret_key)


@pytest.fixture
def public(supabase_server: EmbeddedServer) -> Client:
    key = supabase_server.endpoint.publishable_key
    assert key is not None
    return Client(supabase_server.endpoint.url, key)


@pytest.fixture
def api_run(service: Client) -> str:
    """Give a run with one row in every table, put in through the API."""
    run_id = new_run()
    answer = service.send("POST", "rpc/ingest", {"p_batch": sample_batch(run_id)})
    assert answer.status_code == 200, answer.text
    assert answer.json() == dict.fromkeys(TABLES, 1)
    assert service.send("POST", "rpc/refresh_views", {}).status_code in {200, 204}
    return run_id


def test_the_secret_key_reads_every_table_and_view(service: Client, api_run: str) -> None:
    for name in (*ALL_TABLES, *VIEWS):
        where = "" if name == "uk_regions" else f"&run_id=eq.{api_run}"
        found = service.rows(f"{name}?select=*{where}")
        if name in ALL_TABLES:
            assert len(found) == (14 if name == "uk_regions" else 1), name
    assert service.rows(f"current_grid_status?run_id=eq.{api_run}&select=run_id")
    assert service.send("POST", "rpc/schema_version", {}).json() == 10


def test_the_publishable_key_reads_facts_and_nothing_private(public: Client, api_run: str) -> None:
    for table in ("carbon_intensity_regional", "wholesale_prices", "compute_windows", "offers"):
        assert len(public.rows(f"{table}?run_id=eq.{api_run}")) == 1, table
    assert public.rows(f"current_grid_status?run_id=eq.{api_run}")
    assert public.rows(f"scenario_runs?run_id=eq.{api_run}&select=run_id,kind,clock_at")
    private = ("compute_workloads", "workload_schedules", "agent_negotiations", "agents",
               "api_logs", "beckn_transactions", "compute_assets",
               "workload_optimization_opportunities")  # fmt: skip
    for name in private:
        answer = public.send("GET", f"{name}?select=run_id")
        assert answer.status_code in {401, 403}, f"{name}: {answer.text}"
        assert answer.json()["code"] == "42501", name


def test_the_publishable_key_writes_nothing(public: Client, service: Client, api_run: str) -> None:
    batch = sample_batch(api_run)
    for table in TABLES:
        stranger = {**batch[table][0], "id": str(uuid4())}
        attempts: list[tuple[str, str, Any]] = [("POST", table, stranger)]
        # Each verb against every table is tried in SQL; here that the API is no way round.
        if table in {"scenario_runs", "offers", "compute_workloads", "agent_negotiations"}:
            attempts += [
                ("PATCH", f"{table}?run_id=eq.{api_run}", {"id": str(uuid4())}),
                ("DELETE", f"{table}?run_id=eq.{api_run}", None),
            ]
        for method, path, content in attempts:
            answer = public.send(method, path, content)
            assert answer.status_code in {401, 403}, f"{method} {table}: {answer.status_code}"
            assert answer.json()["code"] == "42501", f"{method} {table}: {answer.text}"
        assert len(service.rows(f"{table}?run_id=eq.{api_run}&select=id")) == 1, table
    contents = {"ingest": {"p_batch": {}}, "ingest_columns": {"p_parts": []}}
    for function in ("ingest", "ingest_columns", "refresh_views", "schema_version"):
        content = contents.get(function, {})
        assert public.send("POST", f"rpc/{function}", content).status_code in {401, 403, 404}


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        # The embedded API gives 42P01 its own name.
        ({"no_such_table": []}, "42P01|PGRST205"),
        ({"agents": [{"colour": "red"}]}, "42703"),
        ({"agents": [{"agent_name": "x", "kind": "compute", "id": str(uuid4()),
                      "run_id": str(uuid4())}]}, "23503"),
        ({"agents": [{"agent_name": "x", "kind": "wizard", "id": str(uuid4()),
                      "run_id": str(uuid4())}]}, "23514"),
    ],
    ids=["table", "column", "parent", "check"],
)  # fmt: skip
def test_ingest_tells_its_sqlstate(service: Client, batch: dict[str, Any], code: str) -> None:
    answer = service.send("POST", "rpc/ingest", {"p_batch": batch})
    assert answer.status_code >= 400
    assert answer.json()["code"] in code.split("|")


@pytest.mark.parametrize("function", ["ingest", "ingest_columns"])
def test_rows_are_taken_from_the_service_role_alone(
    supabase_server: EmbeddedServer, service: Client, public: Client, function: str
) -> None:
    content = {"p_batch": {}} if function == "ingest" else {"p_parts": []}

    def status(key: str, **headers: str) -> int:
        return (
            Client(service.url, key).send("POST", f"rpc/{function}", content, **headers).status_code
        )

    assert status(service.key) == 200
    assert status(service.key, Authorization=f"Bearer {service.key}") == 200
    # A user's token makes the caller that user, whatever key stands beside it.
    token = token_of(str(uuid4()), supabase_server.state.jwt_secret)
    assert status(service.key, Authorization=f"Bearer {token}") in {401, 403}
    for wrong in ("", service.key[:-1], f"{service.key}x", public.key):
        assert status(wrong) in {401, 403, 404}
    # The role is set for the call: without its right the answer is 42501.
    signature = f"public.{function}(jsonb)"
    assert supabase_server.endpoint.database_url is not None
    with psycopg.connect(supabase_server.endpoint.database_url, autocommit=True) as database:
        database.execute(f"revoke execute on function {signature} from service_role")
        try:
            answer = service.send("POST", f"rpc/{function}", content)
        finally:
            database.execute(f"grant execute on function {signature} to service_role")
    assert answer.json()["code"] == "42501"
    assert status(service.key) == 200


def test_two_owners_submit_and_cancel_through_the_api(
    supabase_server: EmbeddedServer, service: Client, public: Client
) -> None:
    secret = supabase_server.state.jwt_secret
    run_id = new_run()
    parents = [run_row(kind="live", scenario=None), AgentRow(agent_name="acme", kind="compute")]
    content = {row.TABLE: [body(row, run_id)] for row in parents}
    assert service.send("POST", "rpc/ingest", {"p_batch": content}).status_code == 200
    ada, bob = (Client(public.url, public.key, token_of(str(uuid4()), secret)) for _ in range(2))
    wanted = {
        "agent_name": "acme",
        "workload_name": "mine",
        "power_kw": 5,
        "duration_min": 60,
        "earliest_start": "2026-05-01T12:00:00Z",
        "deadline": "2026-05-02T12:00:00Z",
        "allowed_regions": [1, 13],
        "delay_cost_gbp_per_kwh_h": 0.02,
    }
    answer = ada.send("POST", "compute_workloads", wanted, Prefer="return=representation")
    assert answer.status_code == CREATED, answer.text
    [made] = answer.json()
    assert made["id"] == row_id("compute_workloads", run_id, "acme", "mine")
    assert (made["status"], made["run_id"]) == ("submitted", run_id)
    # A user cannot say whose it is.
    forged = {**wanted, "workload_name": "forged", "owner": str(uuid4())}
    assert bob.send("POST", "compute_workloads", forged).status_code in {401, 403}

    assert len(ada.rows("compute_workloads?select=id,delay_cost_gbp_per_kwh_h")) == 1
    assert bob.rows("compute_workloads?select=id") == []
    gone = {"status": "cancelled"}
    bob.send("PATCH", f"compute_workloads?id=eq.{made['id']}", gone)
    [kept] = ada.rows("compute_workloads?select=status")
    assert kept["status"] == "submitted"
    ada.send("PATCH", f"compute_workloads?id=eq.{made['id']}", gone)
    [left] = ada.rows("compute_workloads?select=status")
    assert left["status"] == "cancelled"


def test_an_owner_reads_the_story_of_its_own_workload(
    supabase_server: EmbeddedServer, public: Client, api_run: str
) -> None:
    owner = str(sample_rows()["compute_workloads"].owner)  # type: ignore[attr-defined]
    ada = Client(public.url, public.key, token_of(owner, supabase_server.state.jwt_secret))
    for table in ("compute_workloads", "workload_schedules", "agent_negotiations"):
        assert len(ada.rows(f"{table}?run_id=eq.{api_run}")) == 1, table
