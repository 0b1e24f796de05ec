"""One suite for every store: the memory store and a real Supabase take and refuse alike."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from storage_samples import (
    HALF_HOUR,
    START,
    agent,
    asset,
    log,
    message,
    regional,
    run_record,
    workload,
)

from schema.errors import (
    ConfigurationError,
    ConstraintViolated,
    GridpactError,
    SchemaBehind,
    StorageError,
    StorageUnavailable,
)
from schema.periods import parse_instant
from schema.rows import Record
from storage.columns import to_part
from storage.memory import MemoryStore
from storage.ports import Filter, Operator, Order, Store, equal
from storage.service import StorageService
from storage.spool_file import SpoolSettings
from storage.supabase_store import SupabaseStore, from_state_file
from storage.verdicts import Verdict, verdict_of


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    else:
        server = request.getfixturevalue("supabase_server")
        made = from_state_file(str(server.endpoint.state_file))
    yield made
    await made.close()


@pytest.fixture
async def run(store: Store) -> str:
    """A run of this test's own, so that tests may share a database."""
    made = str(uuid.uuid4())
    await store.ingest({"scenario_runs": [run_record(made).body]})
    return made


async def _put(store: Store, *records: Record) -> dict[str, int]:
    batch: dict[str, list[bytes]] = {}
    for record in records:
        batch.setdefault(record.table, []).append(record.body)
    return dict(await store.ingest(batch))


async def test_rows_by_columns_arrive_like_others(store: Store, run: str) -> None:
    logs = [log(n, run, error="a, b" if n else None) for n in range(3)]
    part = to_part("api_logs", [record.columns() for record in logs])
    assert part is not None
    assert await store.ingest_columns([part]) == {"api_logs": 3}
    assert await store.ingest_columns([part]) == {"api_logs": 0}
    found = await _rows(store, "api_logs", run, order=[Order("sequence")])
    assert [(row["sequence"], row["error"]) for row in found] == [
        (0, None),
        (1, "a, b"),
        (2, "a, b"),
    ]
    bad = part.replace(b'"attempt":1', b'"attempt":-1')
    assert bad != part
    with pytest.raises(ConstraintViolated):
        await store.ingest_columns([bad.replace(logs[0].id.encode(), run.encode())])


async def _rows(store: Store, table: str, run: str, **more: Any) -> list[dict[str, Any]]:
    return await store.select(table, filters=[equal("run_id", run)], **more)


def _with(record: Record, **columns: Any) -> Record:
    return record._replace(body=orjson.dumps({**record.columns(), **columns}))


async def _refused(store: Store, *records: Record) -> GridpactError:
    with pytest.raises(GridpactError) as caught:
        await _put(store, *records)
    return caught.value


async def test_many_tables_go_in_together_parents_first(store: Store, run: str) -> None:
    # The batch lists children first: the store sorts it out.
    counts = await _put(store, workload("a", "w", run), asset("a", run=run), agent("a", run))
    assert counts == {"compute_workloads": 1, "compute_assets": 1, "agents": 1}
    (found,) = await _rows(store, "compute_workloads", run)
    assert found["agent_id"] == agent("a", run).id


async def test_a_batch_without_rows_is_taken(store: Store) -> None:
    """A command that is given a hosted Supabase asks so whether its key may write."""
    assert await store.ingest({}) == {}


async def test_the_same_rows_again_change_nothing(store: Store, run: str) -> None:
    rows = [agent("a", run), log(1, run), message(1, run)]
    assert await _put(store, *rows) == {"agents": 1, "api_logs": 1, "agent_negotiations": 1}
    assert await _put(store, *rows) == {"agents": 0, "api_logs": 0, "agent_negotiations": 0}


async def test_only_a_higher_version_replaces(store: Store, run: str) -> None:
    await _put(store, agent("a", run, version=5, node="five"))
    assert await _put(store, agent("a", run, version=4, node="four")) == {"agents": 0}
    assert await _put(store, agent("a", run, version=5, node="other")) == {"agents": 0}
    assert (await _rows(store, "agents", run))[0]["node"] == "five"
    assert await _put(store, agent("a", run, version=6, node="six")) == {"agents": 1}
    (found,) = await _rows(store, "agents", run)
    assert (found["node"], found["version"], found["id"]) == ("six", 6, agent("a", run).id)


async def test_an_append_only_row_is_never_replaced(store: Store, run: str) -> None:
    await _put(store, log(1, run))
    assert await _put(store, log(1, run, error="later thought")) == {"api_logs": 0}
    assert (await _rows(store, "api_logs", run))[0]["error"] is None


async def test_one_bad_row_keeps_the_whole_batch_out(store: Store, run: str) -> None:
    bad = _with(log(2, run), attempt=0)
    error = await _refused(store, agent("a", run), log(1, run), bad)
    assert isinstance(error, ConstraintViolated)
    assert (verdict_of(error), error.details["code"]) == (Verdict.POISON, "23514")
    assert await store.count("agents", [equal("run_id", run)]) == 0
    assert await store.count("api_logs", [equal("run_id", run)]) == 0


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"attempt": 0}, "23514"),
        ({"outcome": "splendid"}, "23514"),
        ({"requested_at": None}, "23502"),
        ({"requested_at": "30 February"}, ("22007", "22008", "22P02")),
        ({"sequence": "seven"}, "22P02"),
    ],
    ids=["below its bound", "no such word", "missing", "no such day", "no number"],
)
async def test_poison_has_its_code(
    store: Store, run: str, columns: dict[str, Any], code: str | tuple[str, ...]
) -> None:
    error = await _refused(store, _with(log(1, run), **columns))
    assert verdict_of(error) is Verdict.POISON
    assert error.details["code"] in ((code,) if isinstance(code, str) else code)


async def test_a_missing_parent_is_told_apart_from_poison(store: Store, run: str) -> None:
    error = await _refused(store, workload("nobody", "w", run))
    assert (verdict_of(error), error.details["code"]) == (Verdict.ORPHAN, "23503")
    nowhere = str(uuid.uuid4())
    assert verdict_of(await _refused(store, log(1, nowhere))) is Verdict.ORPHAN


async def test_an_id_rule_gone_wrong_is_noticed(store: Store, run: str) -> None:
    await _put(store, log(1, run))
    error = await _refused(store, _with(log(1, run), id=str(uuid.uuid4())))
    assert error.details["code"] == "23505"


async def test_one_id_twice_in_a_batch_is_a_fault_of_ours(store: Store, run: str) -> None:
    twice = [agent("a", run, version=1), agent("a", run, version=2)]
    error = await _refused(store, *twice)
    assert (verdict_of(error), type(error)) == (Verdict.BUG, StorageError)


async def test_what_this_database_does_not_know_is_a_missing_migration(
    store: Store, run: str
) -> None:
    error = await _refused(store, _with(log(1, run), mood="good"))
    assert (verdict_of(error), type(error)) == (Verdict.SCHEMA, SchemaBehind)
    with pytest.raises(SchemaBehind):
        await store.ingest({"people": [log(1, run).body]})
    with pytest.raises(SchemaBehind):
        await store.select("people")


async def test_a_cancelled_workload_stays_cancelled(store: Store, run: str) -> None:
    await _put(store, agent("a", run), workload("a", "w", run, status="cancelled", version=1))
    await _put(store, workload("a", "w", run, status="awarded", version=2, status_reason="late"))
    (found,) = await _rows(store, "compute_workloads", run)
    assert found["status"] == "cancelled"


async def test_figures_come_back_as_they_went_in(store: Store, run: str) -> None:
    await _put(store, regional(13, START, 123.456, run=run))
    (found,) = await _rows(store, "carbon_intensity_regional", run)
    assert found["forecast_gco2_per_kwh"] == 123.456
    assert found["region_id"] == 13
    assert parse_instant(found["valid_from"]) == START
    assert parse_instant(found["retrieved_at"]) == START
    assert found["quality"] == "published"


async def test_json_and_odd_text_come_back_as_they_went_in(store: Store, run: str) -> None:
    odd = "'; drop table agents; -- \u202e\U0001f50c ,or(1=1) * \x1b[31m =cmd()"
    content = {"text": odd, "list": [1, 2.5, None, True], "nested": {"a": {"b": []}}, "5": "5"}
    await _put(store, message(1, run, content=content, receiver=odd[:100]))
    (found,) = await _rows(store, "agent_negotiations", run)
    assert found["content"] == content
    assert found["receiver"] == odd[:100]


async def test_selecting_filters_sorts_and_limits(store: Store, run: str) -> None:
    await _put(store, *(log(n, run, http_status=200 + n if n else None) for n in range(6)))
    mine = equal("run_id", run)

    async def numbers(*filters: Filter, **more: Any) -> list[Any]:
        found = await store.select(
            "api_logs", columns=["sequence"], filters=[mine, *filters], **more
        )
        return [row["sequence"] for row in found]

    by = [Order("sequence")]
    assert await numbers(Filter("sequence", Operator.GT, 3), order=by) == [4, 5]
    assert await numbers(Filter("sequence", Operator.LTE, 1), order=by) == [0, 1]
    assert await numbers(Filter("sequence", Operator.IN, [2, 4, 99]), order=by) == [2, 4]
    assert await numbers(Filter("sequence", Operator.NEQ, 0), order=by) == [1, 2, 3, 4, 5]
    assert await numbers(Filter("http_status", Operator.IS_NULL, True)) == [0]
    assert await numbers(Filter("http_status", Operator.IS_NULL, False), order=by, limit=2) == [
        1,
        2,
    ]
    # Nulls last, whichever way.
    assert (await numbers(order=[Order("http_status", descending=True)]))[-1] == 0
    assert (await numbers(order=[Order("http_status")]))[-1] == 0
    assert await store.count("api_logs", [mine, Filter("sequence", Operator.GTE, 2)]) == 4


async def test_filters_hold_odd_text_apart(store: Store, run: str) -> None:
    names = ['a,b"c\\d', "plain", "x)or(y", "per%cent*"]
    await _put(store, *(agent(name, run) for name in names))
    for name in names:
        (row,) = await store.select(
            "agents", filters=[equal("run_id", run), equal("agent_name", name)]
        )
        assert row["agent_name"] == name
    found = await store.select(
        "agents", filters=[equal("run_id", run), Filter("agent_name", Operator.IN, names[:3])]
    )
    assert {row["agent_name"] for row in found} == set(names[:3])


async def test_more_rows_than_a_page_come_back_whole_and_once(store: Store, run: str) -> None:
    await _put(store, *(log(n, run) for n in range(2345)))
    found = await _rows(store, "api_logs", run)
    assert sorted(row["sequence"] for row in found) == list(range(2345))
    some = await _rows(store, "api_logs", run, limit=1500)
    assert len({row["sequence"] for row in some}) == len(some) == 1500
    ordered = await _rows(
        store, "api_logs", run, order=[Order("endpoint"), Order("sequence")], limit=1500
    )
    assert [row["sequence"] for row in ordered] == list(range(1500))


async def test_a_deleted_run_takes_its_rows_along_and_no_others(store: Store, run: str) -> None:
    other = str(uuid.uuid4())
    await _put(store, run_record(other), agent("a", other), log(1, other), agent("a", run))
    assert await store.delete_runs([equal("run_id", other)]) == 1
    assert await store.delete_runs([equal("run_id", other)]) == 0
    for table in ("scenario_runs", "agents", "api_logs"):
        assert await _rows(store, table, other) == []
    assert len(await _rows(store, "agents", run)) == 1
    # The same rows may come again, with the same ids.
    await _put(store, run_record(other), agent("a", other))
    assert len(await _rows(store, "agents", other)) == 1
    with pytest.raises(ValueError, match="every run would go"):
        await store.delete_runs([])


async def test_the_schema_has_a_version_and_the_views_refresh(store: Store) -> None:
    assert await store.schema_version() >= 1
    await store.refresh_views()


async def test_the_service_drains_into_it(store: Store, run: str, tmp_path: Any) -> None:
    # The service runs the store in an event loop of its own, so it gets a store of its own.
    own: Store = store
    if isinstance(store, SupabaseStore):
        own = SupabaseStore(store._url, store._key)
    service = StorageService(tmp_path, own, spool=SpoolSettings(ballast_bytes=0)).open()
    other = str(uuid.uuid4())
    await service.put([run_record(other)])
    await service.put([agent("a", other), *(workload("a", f"w{n}", other) for n in range(50))])
    await service.put(
        [
            regional(r, START + n * HALF_HOUR, 100.0, run=other)
            for r in range(1, 15)
            for n in range(96)
        ]
    )
    for n in range(3):
        await service.set_clock_at(other, START + timedelta(minutes=30 * n))
    status = await service.barrier(60)
    assert (status.depth, status.dead) == (0, 0)
    assert await service.count("carbon_intensity_regional", [equal("run_id", other)]) == 1344
    assert await service.count("compute_workloads", [equal("run_id", other)]) == 50
    (found,) = await service.select("scenario_runs", filters=[equal("run_id", other)])
    assert parse_instant(str(found["clock_at"])) == START + HALF_HOUR * 2
    await service.stop()


# -- what only HTTP can go wrong with -----------------------------------------------------


def _answering(*answers: httpx.Response | Exception) -> tuple[SupabaseStore, list[httpx.Request]]:
    left, seen = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    key = "sb_secret_" + "x" * 22 + "_" + "y" * 8
    return SupabaseStore("http://127.0.0.1:9", key, transport=httpx.MockTransport(answer)), seen


@pytest.mark.parametrize(
    ("answer", "error", "verdict"),
    [
        (httpx.Response(200, text="<html>hello"), StorageUnavailable, Verdict.RETRY),
        (httpx.Response(200, text='{"api_lo'), StorageUnavailable, Verdict.RETRY),
        (httpx.Response(200, json={"agents": 1}), StorageUnavailable, Verdict.RETRY),
        (httpx.Response(502, text="<html>bad gateway"), StorageUnavailable, Verdict.RETRY),
        (httpx.Response(413, text="too large"), ConstraintViolated, Verdict.POISON),
        (
            httpx.Response(401, json={"message": "Invalid API key"}),
            ConfigurationError,
            Verdict.STOP,
        ),
        (httpx.ConnectError("refused"), StorageUnavailable, Verdict.RETRY),
        (httpx.RemoteProtocolError("cut"), StorageUnavailable, Verdict.RETRY),
        (httpx.ReadTimeout("slow"), StorageUnavailable, Verdict.SHRINK),
    ],
    ids=["html", "cut json", "other json", "gateway", "too large", "key", "refused", "cut", "slow"],
)
async def test_whatever_comes_back_is_judged(
    answer: httpx.Response | Exception, error: type[GridpactError], verdict: Verdict
) -> None:
    store, seen = _answering(answer)
    with pytest.raises(error) as caught:
        await store.ingest({"api_logs": [log(1).body]})
    assert verdict_of(caught.value) is verdict
    assert len(seen) == 1  # nobody but the drain retries
    assert "sb_secret_" not in str(caught.value) + repr(caught.value.details)
    await store.close()


async def test_retry_after_reaches_the_drain() -> None:
    answer = httpx.Response(
        429, json={"code": "429", "message": "slow down"}, headers={"Retry-After": "17"}
    )
    store, _ = _answering(answer)
    with pytest.raises(StorageUnavailable) as caught:
        await store.ingest({"api_logs": [log(1).body]})
    assert caught.value.details["retry_after_s"] == 17.0
    await store.close()


async def test_bodies_go_out_byte_for_byte() -> None:
    store, seen = _answering(httpx.Response(200, json={"agents": 1, "api_logs": 2}))
    first, second, third = agent("a"), log(1), log(2)
    await store.ingest({"agents": [first.body], "api_logs": [second.body, third.body]})
    (request,) = seen
    assert request.url.path == "/rest/v1/rpc/ingest"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.content))
    assert request.content == (
        b'{"p_batch":{"agents":['
        + first.body
        + b'],"api_logs":['
        + second.body
        + b","
        + third.body
        + b"]}}"
    )
    await store.close()
