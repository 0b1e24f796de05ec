"""Batches: nothing lost, nothing doubled, parents in front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.errors import StorageError
from storage.batching import Batch, bodies_by_table, coalesce, sorted_facts, upcast
from storage.spool_rows import SpoolRow

TABLES = ("agents", "compute_workloads", "api_logs")


def row(seq: int, table: str, key: int, version: int, form: int = 1) -> SpoolRow:
    body = f'{{"seq":{seq}}}'.encode()
    rank = TABLES.index(table)
    return SpoolRow(seq, table, key.to_bytes(16, "big"), version, 1, rank, form, body, b"", 0)


rows = st.lists(
    st.tuples(st.sampled_from(TABLES), st.integers(0, 5), st.integers(0, 4)),
    unique=True,
    max_size=40,
).map(lambda found: [row(n, *columns) for n, columns in enumerate(found, 1)])


def ids(found: tuple[SpoolRow, ...]) -> list[tuple[str, bytes]]:
    return [(r.table, r.id) for r in found]


@given(rows)
def test_coalescing_loses_nothing_and_doubles_nothing(found: list[SpoolRow]) -> None:
    batch = coalesce(found)
    assert sorted(batch.all_rows) == sorted(found)
    assert len(set(ids(batch.rows))) == len(batch.rows)
    newest = {(r.table, r.id): r.version for r in sorted(found, key=lambda r: r.version)}
    assert {(r.table, r.id): r.version for r in batch.rows} == newest


@given(rows)
def test_coalesced_rows_stand_where_their_first_version_stood(found: list[SpoolRow]) -> None:
    first = {}
    for r in found:
        first.setdefault((r.table, r.id), r.seq)
    order = [first[key] for key in ids(coalesce(found).rows)]
    assert order == sorted(order)


@given(rows)
def test_halving_down_to_single_rows_loses_nothing(found: list[SpoolRow]) -> None:
    batch = coalesce(found)
    parts, leaves = [batch], []
    while parts:
        part = parts.pop()
        if len(part.rows) > 1:
            first, second = part.halves()
            assert first.rows + second.rows == part.rows
            parts += [first, second]
        else:
            leaves.append(part)
    assert sorted(r for leaf in leaves for r in leaf.all_rows) == sorted(found)


def test_one_row_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="one row"):
        Batch((row(1, "agents", 1, 0),)).halves()


@given(rows, st.randoms(use_true_random=False))
def test_facts_are_sorted_alike_whatever_order_they_came_in(
    found: list[SpoolRow], shuffle: object
) -> None:
    batch = coalesce(found)
    mixed = list(batch.rows)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert sorted_facts(Batch(tuple(mixed))).rows == sorted_facts(batch).rows


@given(rows)
def test_requests_hold_every_body_once_parents_first(found: list[SpoolRow]) -> None:
    batch = coalesce(found)
    content = bodies_by_table(batch.rows)
    assert sorted(body for bodies in content.values() for body in bodies) == sorted(
        r.body for r in batch.rows
    )
    assert list(content) == [name for name in TABLES if name in content]


def test_a_row_of_an_earlier_release_is_brought_to_todays_form() -> None:
    steps = {
        1: lambda table, body: body.replace(b"seq", table.encode()),
        2: lambda _table, body: body + b" ",
    }
    assert upcast(row(7, "agents", 1, 0), steps, 3) == b'{"agents":7} '
    assert upcast(row(7, "agents", 1, 0, form=3), steps, 3) == b'{"seq":7}'


def test_a_form_without_a_step_or_from_a_later_release_is_no_guess() -> None:
    with pytest.raises(StorageError, match="no step leads from form 1"):
        upcast(row(7, "agents", 1, 0), {}, 2)
    with pytest.raises(StorageError, match="form 4"):
        upcast(row(7, "agents", 1, 0, form=4), {}, 3)
