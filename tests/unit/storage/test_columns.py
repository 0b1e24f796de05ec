"""Rows by columns: turned back they are the rows; what the form cannot hold is not forced in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.columns import bodies_of, rows_of, to_part

_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'))
_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
    st.sampled_from(["", "null", "NULL", "a,b", "{x}", "007", "true", " ", "gas"]),
)


@given(st.lists(st.fixed_dictionaries({"id": _TEXT, "a": _VALUE, "b": _VALUE}), min_size=1))
def test_what_went_in_comes_back(rows: list[dict[str, Any]]) -> None:
    part = to_part("t", rows)
    assert part is not None
    # 1, 1.0 and True are equal in Python: compare what stands in the JSON.
    assert rows_of(part)[0] == "t"
    assert [orjson.dumps(r, option=orjson.OPT_SORT_KEYS) for r in rows_of(part)[1]] == [
        orjson.dumps(r, option=orjson.OPT_SORT_KEYS) for r in rows
    ]


def test_shared_values_and_names_stand_once_and_plain_words_without_quotes() -> None:
    rows = [
        {"id": "0a", "fuel": "gas", "place": "a, b", "pct": 1.5, "source": "neso"},
        {"id": "0b", "fuel": None, "place": "c", "pct": None, "source": "neso"},
    ]
    part = to_part("mix", rows)
    assert part is not None
    assert orjson.loads(part) == {
        "table": "mix",
        "rows": 2,
        "all": {"source": "neso"},
        "text": ["id", "fuel"],
        "each": {
            "id": "{0a,0b}",
            "fuel": "{gas,null}",
            "place": '{"a, b","c"}',
            "pct": "{1.5,null}",
        },
    }


@pytest.mark.parametrize(
    "second",
    [
        {"id": "b", "x": [1]},
        {"id": "b", "x": {"a": 1}},
        {"id": "b", "x": "a\\b"},
        {"id": "b", "x": 'a"b'},
        {"id": "b", "x": "a\nb"},
        {"id": "b", "x": "a\x00b"},
        {"id": "b"},
        {"id": "b", "x": 1, "y": 2},
        {"id": "b", "y": 1},
    ],
)
def test_what_the_form_cannot_hold_is_not_forced_into_it(second: dict[str, Any]) -> None:
    assert to_part("t", [{"id": "a", "x": 1}, second]) is None


def test_of_an_id_in_several_parts_the_highest_version_counts() -> None:
    parts = [
        to_part(
            "t", [{"id": "a", "version": version, "x": version}, {"id": "b", "version": 0, "x": 9}]
        )
        for version in (1, 3, 2)
    ]
    assert {
        table: [orjson.loads(body) for body in bodies]
        for table, bodies in bodies_of(part for part in parts if part is not None).items()
    } == {"t": [{"id": "a", "version": 3, "x": 3}, {"id": "b", "version": 0, "x": 9}]}
