"""Fuzz: whatever bytes come, a Beckn parser gives checked rows and reasons, or a source error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchers.beckn.parse import ENDPOINTS, parse_callback
from fetchers.parsing import ParseContext
from schema.errors import SourceError

PAYLOADS = Path(__file__).resolve().parents[3] / "payloads" / "beckn"
NOW = datetime(2031, 2, 3, 8, tzinfo=UTC)
RUN = "00000000-0000-0000-0000-00000000000a"
REPLIES = [json.loads(file.read_text()) for file in sorted(PAYLOADS.glob("*.json"))]
PARSERS = {
    "on-discover": ENDPOINTS["on-discover"].parse,
    "on-select": ENDPOINTS["on-select"].parse,
    "on-status": ENDPOINTS["on-status"].parse,
    "on-rating": ENDPOINTS["on-rating"].parse,
    "callback": parse_callback,
}

SPECIAL = st.sampled_from(
    [
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59:59Z",
        "2031-02-03",
        "23:59:59Z",
        "00:00:00-23:59",
        "PT4H",
        "P99999999D",
        "PT",
        "NaN",
        "1e400",
        "\x00",
        "\ud800",
        "",
        "NACK",
        "GBP",
        "per_kWh",
        10**30,
        -(10**300),
        1.7e308,
        float("nan"),
        float("inf"),
        True,
        0,
        -1,
    ]
)
SCALARS = st.none() | st.integers() | st.floats() | st.text(max_size=12) | SPECIAL


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(member, (*path, key))


NAMES = sorted(
    {key for reply in REPLIES for path in walk(reply) for key in path if isinstance(key, str)}
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=15,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One of our replies with a few members replaced, removed or doubled."""
    document = copy.deepcopy(draw(st.sampled_from(REPLIES)))
    for _ in range(draw(st.integers(1, 4))):
        paths = [path for path in walk(document) if path]
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        holder = document
        for step in parents:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "remove", "double"])):
            case "replace":
                holder[last] = draw(VALUES)
            case "remove":
                del holder[last]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
    text = json.dumps(document).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


GENERIC = (
    VALUES.map(lambda value: json.dumps({"context": {}, "message": value}).encode())
    | VALUES.map(lambda value: json.dumps({"message": {"order": value}}).encode())
    | VALUES.map(lambda value: json.dumps({"message": {"catalogs": value}}).encode())
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)


def check(name: str, body: bytes) -> None:
    try:
        parsed = PARSERS[name](body, ParseContext(now=NOW))
    except SourceError as exc:
        assert exc.message.encode()  # noqa: PT017 - the error is an allowed outcome
        return
    for row in parsed.rows:
        # Bounds once more from the columns alone, and the JSON that storage takes.
        assert type(row)(**dict(row)) == row
        row.to_record(RUN, retrieved_at=NOW, version=1)
    assert all(one.reason.encode() and one.where.encode() for one in parsed.rejected)
    keys = [(row.TABLE, row.key()) for row in parsed.rows]
    assert len(keys) == len(set(keys))


def fuzz(name: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(body=mutated() | GENERIC)
    def run(body: bytes) -> None:
        check(name, body)

    run()


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_two_hundred_replies(name: str) -> None:
    fuzz(name, 200)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_ten_thousand_replies(name: str) -> None:
    fuzz(name, 10_000)
