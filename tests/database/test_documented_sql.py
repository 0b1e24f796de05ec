"""The two pages about the database: the reference is current, every query answers."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from database_kit import HALF_HOUR, NOON, acting_as, ingest, put, run_row, sample_batch, sample_rows

from schema import rows as r
from schema.errors import InputError
from storage.cli_db import read
from storage.schema_docs import describe_schema

pytestmark = pytest.mark.embedded

DOCS = Path(__file__).resolve().parents[2] / "docs"
QUERIES = re.findall(
    r"### ([^\n]+)\n.*?```sql\n(.*?)```", (DOCS / "queries.md").read_text(), re.DOTALL
)

#: Statements that the other pages ask by ``db query "…"``.
ASKED = [
    (path.relative_to(DOCS.parent).as_posix(), statement)
    for path in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md")))
    for statement in re.findall(r'db query "([^"]+)"', path.read_text())
    if statement != "…"
]

#: Questions to which the sample has no answer: nothing is refused or made up in it.
NO_ANSWER = {"Who was refused, and why?", "Which decisions rest on made-up figures?"}


def test_the_reference_is_current(schema: psycopg.Connection) -> None:
    written = (DOCS / "reference" / "schema.md").read_text()
    assert written == describe_schema(schema), "run: run_cluster.py db docs > the page"


def test_there_is_a_query_for_what_users_ask() -> None:
    questions = {question for question, _ in QUERIES}
    assert len(questions) == len(QUERIES) > 15
    assert questions >= NO_ANSWER


@pytest.fixture(scope="module")
def _seeded_run() -> str:
    return "5f9d2a52-3f5f-4c3e-9c0d-3f1f6a0f6a11"


@pytest.fixture
def seeded(schema: psycopg.Connection, _seeded_run: str) -> psycopg.Connection:
    """Give a database with a run in which every question but a few has an answer."""
    ingest(schema, sample_batch(_seeded_run))
    ahead = [
        r.CarbonIntensityRegionalRow(
            source="carbon_intensity",
            region_id=13,
            valid_from=NOON + n * HALF_HOUR,
            valid_to=NOON + (n + 1) * HALF_HOUR,
            forecast_gco2_per_kwh=60 - n,
        )
        for n in range(16)
    ]
    cfp = sample_rows()["agent_negotiations"].model_dump() | {
        "performative": "cfp", "workload_name": None, "workload_agent": None,
        "receiver": "all", "cost_gbp": 1.02, "bound_gbp": 1.0, "gap": 0.02,
    }  # fmt: skip
    early = NOON - 2 * HALF_HOUR
    put(schema, _seeded_run, run_row(early), r.AgentNegotiationRow(**cfp), *ahead, version=1)
    with acting_as(schema, "service_role"):
        schema.execute("select public.refresh_views()")
    return schema


@pytest.mark.parametrize(("question", "query"), QUERIES, ids=[q for q, _ in QUERIES])
def test_a_query_answers(seeded: psycopg.Connection, question: str, query: str) -> None:
    with acting_as(seeded, "service_role"), seeded.cursor() as cursor:
        rows = cursor.execute(query.encode()).fetchall()
    assert (len(rows) == 0) == (question in NO_ANSWER), rows


@pytest.mark.parametrize(("page", "statement"), ASKED)
def test_every_statement_on_other_pages_can_be_asked(
    seeded: psycopg.Connection, page: str, statement: str
) -> None:
    with seeded.cursor() as cursor:
        cursor.execute(statement.encode())
        assert cursor.description is not None


def test_what_a_run_saved(seeded: psycopg.Connection) -> None:
    [query] = [text for question, text in QUERIES if question == "What did a run save?"]
    [row] = seeded.execute(query.encode()).fetchall()
    # Baseline 1,000 g and scheduled 900 g; re-scored 1,100 against 950; both cost 1 GBP.
    assert row == (1, 1.0, 0.9, pytest.approx(10), pytest.approx(0.15), 0)


class TestDbQuery:
    """What ``db query`` lets through."""

    def test_rows_come_with_their_names(self, database: psycopg.Connection) -> None:
        assert read(database, "select 1 as a, 'x' as b;\n") == [{"a": 1, "b": "x"}]

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("delete from uk_regions", "db query only reads: cannot execute DELETE"),
            ("with x as (delete from agents returning 1) select * from x", "only reads"),
            ("select 1; drop table agents", "one statement at a time"),
            ("commit; drop table agents", "one statement at a time"),
            ("set transaction read write", "gives no rows"),
            ("selec 1", "syntax error"),
            ("select nonsense", 'column "nonsense" does not exist'),
            ("", "gives no rows"),
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(
        self, database: psycopg.Connection, statement: str, words: str
    ) -> None:
        with pytest.raises(InputError, match=re.escape(words)):
            read(database, statement)
        assert read(database, "select count(*) as n from uk_regions") == [{"n": 14}]
