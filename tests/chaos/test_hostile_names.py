"""Names that try to be something else: commands, filters, markup, control characters.

Each is refused when its row is made, or stands in Supabase as it was given, is found by its own
name through the API's filters, and touches no other row.
"""

from __future__ import annotations

import random
import uuid
from contextlib import closing
from typing import Any

import psycopg
import pytest
from chaos_table import Tally
from embedded_fixtures import EmbeddedServer
from pydantic import ValidationError
from storage_samples import agent, run_record, workload

from schema.errors import GridpactError
from schema.rows import Record
from storage.ports import equal
from storage.supabase_store import from_state_file

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("hostile-names"),
    pytest.mark.embedded,
    pytest.mark.timeout(900),
]

FRAGMENTS = (
    "' or 1=1 --", '"; drop table agents; --', "'); delete from scenario_runs; --", "$$", "/*",
    "--", "::uuid", "\\", "%27", "%", "_", "*", "?", "#", "&select=*", "&or=(id.not.is.null)",
    ",or(id.not.is.null)", "eq.x", "in.(a,b)", "not.is.null", "(", ")", "{a,b}", '"', ",", ".", ":",
    "..%2f..%2f", "../../etc/passwd", "null", "true", "NaN", "=cmd|' /C calc'!A0", "+1", "@SUM(A1)",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "{{7*7}}",
    "${jndi:ldap://x}", "[red]", "[/]", "\x1b[31m", "\x1b]0;t\x07", "\x07", "\u202e", "\u200b",
    "\ufeff", "\x00", "\ud800", "\udfff", "\uffff", "é", "e\u0301", "\u212b", "🌬", "\r\n", "\t",
    " ", "\u2028", "a" * 260,
)  # fmt: skip


def names(count: int) -> list[str]:
    """Make different names of one to four fragments; each fragment comes alone first."""
    rng = random.Random(13)
    found = [f"{fragment}" for fragment in FRAGMENTS]
    while len(found) < count:
        parts = rng.choices(FRAGMENTS, k=rng.randint(1, 4))
        found.append("".join((*parts, str(len(found)))))
    return found[: max(count, len(FRAGMENTS))]


async def test_hostile_names_are_refused_or_stored_as_they_are(
    supabase_server: EmbeddedServer, trials: int, tally: Tally
) -> None:
    run = str(uuid.uuid4())
    store = from_state_file(str(supabase_server.endpoint.state_file))
    tried = names(min(trials, 1000))
    accepted: dict[str, Record] = {}
    ids: set[str] = set()
    refused = 0
    for name in tried:
        try:
            record = workload("a", name, run)
        except ValidationError:
            refused += 1
            continue
        # Two spellings of one Unicode text are one name, and have one id.
        if record.id not in ids:
            ids.add(record.id)
            accepted[name] = record
    faults: list[str] = []
    try:
        await store.ingest(
            {
                "scenario_runs": [run_record(run).body],
                "agents": [agent("a", run).body],
                "compute_workloads": [record.body for record in accepted.values()],
            }
        )
        for name, record in accepted.items():
            mine = [equal("run_id", run), equal("workload_name", name)]
            try:
                found = await store.select("compute_workloads", filters=mine)
            except GridpactError as exc:
                faults.append(f"{name!r} cannot be asked for: {exc}")
                continue
            if [(row["id"], row["workload_name"]) for row in found] != [(record.id, name)]:
                faults.append(f"{name!r} finds {found!r:.200}")
    finally:
        await store.close()
    faults += _differing(supabase_server, run, accepted)
    assert refused > 0
    assert len(accepted) > refused
    tally(
        "13: hostile names, refused or stored as they are",
        refused + len(accepted),
        faults,
        note=f"{refused} refused when their row is made, {len(accepted)} stored",
    )


def _differing(server: EmbeddedServer, run: str, accepted: dict[str, Record]) -> list[str]:
    """Compare, past the API, what the database holds."""
    with closing(psycopg.connect(server.state.database_url())) as connection:
        rows: dict[str, Any] = dict(
            connection.execute(
                "select workload_name, id::text from compute_workloads where run_id = %s", (run,)
            ).fetchall()
        )
    wanted = {name: record.id for name, record in accepted.items()}
    return [f"{name!r} is not as it was given" for name in rows.items() ^ wanted.items()]
