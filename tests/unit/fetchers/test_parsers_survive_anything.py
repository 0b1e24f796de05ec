"""Fuzz: whatever bytes come, a parser gives checked rows and reasons, or a source error.

Half of the examples are generic JSON or CSV with the fields' own names, half are our own replies
with values changed, removed, moved or bytes cut. The long run has 10,000 examples a parser.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.parsing import EndpointParser, ParseContext, version_of
from schema.errors import InputError, SourceError

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
SOURCES = ("carbon_intensity", "neso", "elexon")
NOW = datetime(2031, 2, 3, 4, 0, tzinfo=UTC)
RUN = "00000000-0000-4000-8000-000000000000"


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


PARSERS = dict(parsers())
REPLIES = {
    source: [
        open_capture(file.read_bytes(), file.name).body
        for file in sorted((PAYLOADS / source).iterdir())
        if not file.name.endswith(".meta.json")
    ]
    for source in SOURCES
}

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
    """Give our replies that a parser takes, so that mutations reach its depth."""
    found = []
    for body in REPLIES[name.split(maxsplit=1)[0]]:
        try:
            if PARSERS[name].parse(body, ParseContext(now=NOW)).rows:
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


def check(parser: EndpointParser, body: bytes, context: ParseContext) -> None:
    """Parse, and hold what every reply must hold."""
    try:
        parsed = parser.parse(body, context)
    except (SourceError, InputError) as exc:
        assert exc.message  # noqa: PT017 - the error is an allowed outcome
        assert exc.message.encode()  # noqa: PT017 - fit for a log
        return
    revisions: set[tuple[object, ...]] = set()
    for row in parsed.rows:
        assert row.TABLE in parser.tables
        # Bounds, finiteness and awareness once more, from the columns alone.
        assert type(row)(**dict(row)) == row
        row.to_record(RUN, retrieved_at=NOW, version=1)
        for name in ("valid_from", "starts_at"):
            start = getattr(row, name, NOW)
            assert abs(start - NOW) < timedelta(days=366 * 80)
        revisions.add((row.TABLE, row.key()))
        assert version_of(row) >= -1
    assert len(revisions) == len(parsed.rows)
    for item in parsed.rejected:
        assert item.where
        assert item.reason
        assert (item.where + item.reason).encode()
        assert len(item.reason) < 2000
    assert all(count > 0 for count in parsed.skipped.values())


def fuzz(name: str, examples: int, *, fixed: bool) -> None:
    source = name.split(maxsplit=1)[0]
    own = mutated(readable(name) or REPLIES[source])
    bodies = generic(source) | mutated(REPLIES[source]) | own | own
    nows = st.sampled_from([None, NOW])

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=fixed,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(body=bodies, now=nows)
    def run(body: bytes, now: datetime | None) -> None:
        check(PARSERS[name], body, ParseContext(now=now))

    run()


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_three_hundred_replies(name: str) -> None:
    fuzz(name, 300, fixed=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_ten_thousand_replies(name: str) -> None:
    fuzz(name, 10_000, fixed=False)


@pytest.mark.parametrize("name", PARSERS)
def test_a_reply_nested_ten_thousand_deep_is_refused(name: str) -> None:
    for bomb in (b"[" * 10_000 + b"]" * 10_000, b'{"data":' * 10_000 + b"1" + b"}" * 10_000):
        with pytest.raises(SourceError):
            PARSERS[name].parse(bomb, ParseContext(now=NOW))
