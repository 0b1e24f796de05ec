"""Fuzz: whatever bytes come, a parser gives checked rows and reasons, or a source error.

Half of the examples are generic JSON or CSV with the fields' own names. Half are replies with
values changed, removed, moved or bytes cut: our own, and real ones where recordings lie beside the
checkout. The long run has ``GRIDPACT_FUZZ_EXAMPLES`` examples a parser, 10,000 unless told, others
each time.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchers import registry
from fetchers.beckn.parse import parse_callback
from fetchers.capture import open_capture
from fetchers.parsing import EndpointParser, ParseContext, version_of
from schema.errors import InputError, SourceError
from schema.rows import Row

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (ROOT / "tests" / "payloads", ROOT.parent / "shared" / "data" / "payloads")
SOURCES = ("carbon_intensity", "neso", "elexon", "beckn")
NOW = datetime(2031, 2, 3, 4, 0, tzinfo=UTC)
RUN = "00000000-0000-4000-8000-000000000000"
#: Read before the tests' environment is cleaned.
LONG_EXAMPLES = int(os.environ.get("GRIDPACT_FUZZ_EXAMPLES", "10000"))

#: What no figure can lie outside of, whatever a table's model says; by the end of a column's name.
PHYSICAL = {
    "gco2_per_kwh": (0, 1000),
    "_pct": (0, 100),
    "_mw": (-200_000, 200_000),
    "_mwh": (-1_000_000, 1_000_000),
    "gbp_per_mwh": (-100_000, 100_000),
    "price": (-100_000, 100_000),
    "price_per_kwh": (-100, 1000),
    "capacity_kw": (0, 1e8),
    "frequency_hz": (45, 55),
}


def parsers() -> Iterator[tuple[str, EndpointParser]]:
    """Give each distinct parser once: many endpoints share one."""
    seen: set[object] = set()
    for source in SOURCES:
        for endpoint, parser in registry.endpoints(source).items():
            # Parsers bound to a product differ in nothing else.
            cells = getattr(parser.parse, "__closure__", None) or ()
            bound = tuple(cell.cell_contents for cell in cells if callable(cell.cell_contents))
            kind = bound or parser.parse
            if kind not in seen:
                seen.add(kind)
                yield f"{source} {endpoint}", parser
    tables = {table for one in registry.endpoints("beckn").values() for table in one.tables}
    yield "beckn callback", EndpointParser(tuple(tables), "any callback", parse_callback)


def replies_of(source: str) -> list[bytes]:
    """Give our replies of a source, and the real ones, without their envelopes."""
    found = []
    for folder in FOLDERS:
        files = sorted((folder / source).iterdir()) if (folder / source).is_dir() else []
        for file in files:
            if file.suffix == ".md" or file.name.endswith((".meta.json", "-request.json")):
                continue
            found.append(open_capture(file.read_bytes(), file.name).body)
    return found


PARSERS = dict(parsers())
REPLIES = {source: replies_of(source) for source in SOURCES}

SPECIAL = st.sampled_from(
    [
        "2031-02-03T04:00Z",
        "2031-02-03T04:30:00Z",
        "2031-02-03",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59:59Z",
        "NaN",
        "1e400",
        "\x00",
        "\ud800",
        "17:30",
        "25:61",
        "2031-10-26",
        "23:59:59Z",
        "00:00:00-23:59",
        "PT4H",
        "P99999999D",
        "NACK",
        "GBP",
        "per_kWh",
        "2031-03-30",
        "",
        " ",
        0,
        -1,
        2400,
        10**30,
        -(10**300),
        5e-324,
        1.7e308,
        float("nan"),
        float("inf"),
        True,
    ]
)
SCALARS = st.none() | st.integers() | st.floats() | st.text(max_size=12) | SPECIAL


def names_of(source: str) -> list[str]:
    """Give every key that our replies of a source use."""
    found: set[str] = set()
    for body in REPLIES[source]:
        try:
            stack = [json.loads(body.removeprefix(b"\xef\xbb\xbf"))]
        except ValueError:
            found.update(body.decode("utf-8-sig").splitlines()[0].replace('"', "").split(","))
            continue
        while stack:
            value = stack.pop()
            if isinstance(value, dict):
                found.update(value)
                stack.extend(value.values())
            elif isinstance(value, list):
                stack.extend(value)
    return sorted(found)


def generic(source: str) -> st.SearchStrategy[bytes]:
    """Any JSON that uses a source's names, and any table of its columns."""
    names = st.sampled_from(names_of(source)) | st.text(max_size=4)
    values = st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=20,
    )
    documents = values | values.map(lambda value: {"data": value})
    if source == "neso":
        documents |= values.map(lambda value: {"success": True, "result": {"records": value}})
    if source == "beckn":
        documents |= values.map(lambda value: {"context": {}, "message": value})
        documents |= values.map(lambda value: {"message": {"order": value}})
        documents |= values.map(lambda value: {"message": {"catalogs": value}})
    rows = st.lists(st.lists(st.text(max_size=8), max_size=8), max_size=4)
    return (
        documents.map(encode)
        | st.tuples(st.lists(names, max_size=8), rows).map(lambda table: write_csv(*table))
        | st.binary(max_size=60)
    )


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def write_csv(header: list[str], rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode("utf-8", "surrogatepass")


def readable(name: str) -> list[bytes]:
    """Give the replies that a parser takes, so that mutations reach its depth."""
    source, endpoint = name.split(maxsplit=1)
    bodies = REPLIES[source]
    if source == "beckn":
        # Not every action has a recorded answer; they differ in little but their names.
        action = endpoint.replace("-", "_").encode()
        bodies = [*bodies, *(re.sub(rb'"on_[a-z]+"', b'"%s"' % action, one) for one in bodies)]
    found = []
    for body in bodies:
        try:
            parsed = PARSERS[name].parse(body, ParseContext(now=NOW))
            if parsed.rows or not PARSERS[name].tables:
                found.append(body)
        except SourceError:
            continue
    return found


@st.composite
def mutated(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """One of some replies with one to four values changed, removed or copied, or bytes cut."""
    body = draw(st.sampled_from(bodies))
    try:
        document = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return draw(mutated_csv(body))
    if draw(st.integers(0, 9)) == 0:
        return body[: draw(st.integers(0, len(body)))]
    holder = {"reply": document}
    for _ in range(draw(st.integers(1, 4))):
        mutate(draw, holder)
    return encode(holder.get("reply"))


def mutate(draw: st.DrawFn, document: dict[str, Any]) -> None:
    paths = list(walk(document))
    if not paths:
        return
    holder, key = paths[draw(st.integers(0, len(paths) - 1))]
    how = draw(st.sampled_from(["value", "value", "value", "remove", "copy", "wrap"]))
    if how == "value":
        holder[key] = draw(SCALARS | st.just({}) | st.just([]))
    elif how == "remove":
        del holder[key]
    elif how == "copy":
        other, at = paths[draw(st.integers(0, len(paths) - 1))]
        if at in other if isinstance(other, dict) else at < len(other):
            holder[key] = copy.deepcopy(other[at])
    else:
        holder[key] = [holder[key]]


def walk(document: Any) -> Iterator[tuple[Any, Any]]:
    stack = [document]
    while stack:
        value = stack.pop()
        keys = value if isinstance(value, dict) else range(len(value)) if value else ()
        for key in list(keys):
            yield value, key
            if isinstance(value[key], dict | list):
                stack.append(value[key])


@st.composite
def mutated_csv(draw: st.DrawFn, body: bytes) -> bytes:
    cells = draw(st.lists(st.tuples(st.integers(0, 400), SCALARS), min_size=1, max_size=4))
    fields = body.decode("utf-8-sig", "replace").replace("\r\n", "\n").split(",")
    for index, value in cells:
        fields[index % len(fields)] = str(value)[:500]
    text = ",".join(fields).encode("utf-8", "surrogatepass")
    return text[: draw(st.sampled_from([len(text), len(text) // 2, len(text) - 1]))]


def check(parser: EndpointParser, body: bytes, context: ParseContext, counts: Counter[str]) -> None:
    """Parse, and hold what every reply must hold."""
    counts["examples"] += 1
    try:
        parsed = parser.parse(body, context)
    except (SourceError, InputError) as exc:
        assert exc.message  # noqa: PT017 - the error is an allowed outcome
        assert exc.message.encode()  # noqa: PT017 - fit for a log
        counts["refused"] += 1
        return
    revisions: set[tuple[object, ...]] = set()
    for row in parsed.rows:
        assert row.TABLE in parser.tables
        # The table's own bounds once more, from the columns alone, and what storage takes.
        assert type(row)(**dict(row)) == row
        row.to_record(RUN, retrieved_at=NOW, version=1)
        check_physical(row)
        revisions.add((row.TABLE, row.key()))
        assert version_of(row) >= -1
    assert len(revisions) == len(parsed.rows)
    for item in parsed.rejected:
        assert item.where
        assert item.reason
        assert (item.where + item.reason).encode()
        assert len(item.reason) < 2000
    assert all(count > 0 for count in parsed.skipped.values())
    counts["read"] += 1
    counts["rows"] += len(parsed.rows)
    counts["rejected"] += len(parsed.rejected)


def check_physical(row: Row) -> None:
    for name, value in dict(row).items():
        if isinstance(value, float):
            assert math.isfinite(value), name
            for end, (low, high) in PHYSICAL.items():
                if name.endswith(end):
                    assert low <= value <= high, (name, value)
        elif isinstance(value, datetime):
            assert value.utcoffset() == timedelta(0), name
            assert abs(value - NOW) < timedelta(days=366 * 80), (name, value)


def fuzz(name: str, examples: int, *, fixed: bool) -> Counter[str]:
    source = name.split(maxsplit=1)[0]
    changed = mutated(REPLIES[source])
    own = mutated(readable(name) or REPLIES[source])
    nows = st.sampled_from([None, NOW])
    counts: Counter[str] = Counter()

    @st.composite
    def bodies(draw: st.DrawFn) -> bytes:
        if draw(st.booleans()):
            return draw(generic(source))
        return draw(draw(st.sampled_from([changed, own])))

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=fixed,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(body=bodies(), now=nows)
    def run(body: bytes, now: datetime | None) -> None:
        check(PARSERS[name], body, ParseContext(now=now), counts)

    run()
    return counts


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_two_hundred_replies(name: str) -> None:
    counts = fuzz(name, 200, fixed=True)
    # Some were read and some were refused: the examples reach both sides.
    assert counts["read"] > 0
    assert counts["refused"] > 0


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_ten_thousand_replies(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    counts = fuzz(name, LONG_EXAMPLES, fixed=False)
    took = time.monotonic() - began
    figures = " ".join(f"{what}={counts[what]}" for what in COUNTED)
    with capsys.disabled():
        print(f"\n{name}: {figures} seconds={took:.0f}")
    assert counts["examples"] >= LONG_EXAMPLES


COUNTED = ("examples", "read", "refused", "rows", "rejected")


@pytest.mark.parametrize("name", PARSERS)
def test_a_reply_nested_ten_thousand_deep_is_refused(name: str) -> None:
    for bomb in (b"[" * 10_000 + b"]" * 10_000, b'{"data":' * 10_000 + b"1" + b"}" * 10_000):
        with pytest.raises(SourceError):
            PARSERS[name].parse(bomb, ParseContext(now=NOW))
