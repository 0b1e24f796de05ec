"""NESO's JSON and CSV forms, whatever their dress, become one table; refusals are told."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fetchers.neso.catalogue import (
    Resource,
    find_resource,
    parse_package_show,
    parse_resource_show,
)
from fetchers.neso.times import read_utc
from fetchers.neso.wire import read_table
from fetchers.wire import Unusable
from schema.errors import SourcePayloadInvalid, SourceRejected
from schema.readings import Rejected

Payload = Callable[[str], bytes]


@pytest.mark.parametrize(
    "body",
    [
        b"A,Settled Cost \n1,2\n",
        b"A,Settled Cost \r\n1,2\r\n",
        b'\xef\xbb\xbf"A","Settled Cost "\r\n"1","2"\r\n',
        b"A,Settled Cost \n\n1,2",
        b"A,Settled Cost \r1,2\r",
    ],
    ids=["plain", "crlf", "bom and quotes", "blank line, no end", "lone cr"],
)
def test_a_csv_in_any_dress_is_the_same_table(body: bytes) -> None:
    table = read_table(body, ("a", "settled_cost"))
    assert list(table) == [("row 1", {"a": "1", "settled_cost": "2"})]


def test_a_short_row_and_a_bad_byte_spoil_themselves_only() -> None:
    table = read_table(b"a,b\n1\n2,\xff\n3,x\n", ("a",))
    first, second, third = table.rows
    assert isinstance(first[1], Unusable)
    assert str(first[1]) == "the row has 1 fields; the header has 2"
    assert second[1] == {"a": "2", "b": "\ufffd"}
    assert third == ("row 3", {"a": "3", "b": "x"})


def test_an_overlong_field_is_rejected_and_reading_goes_on() -> None:
    body = b"a,b\n" + b"x" * 200_000 + b",1\n2,3\n"
    rows = read_table(body, ("a",)).rows
    assert isinstance(rows[0][1], Unusable)
    assert "field larger than field limit" in str(rows[0][1])
    assert rows[-1][1] == {"a": "2", "b": "3"}


def test_json_records_keep_their_path_and_their_oddities() -> None:
    body = json.dumps(
        {"success": True, "result": {"records": [{"_id": 1, "Settled Cost ": None}, 7]}}
    ).encode()
    table = read_table(body, ("settled_cost",))
    assert table.rows[0] == ("result.records[0]", {"id": 1, "settled_cost": None})
    assert table.rows[1][0] == "result.records[1]"
    assert str(table.rows[1][1]) == "the record is 7; an object is needed"


def test_missing_columns_name_what_is_missing_and_what_is_there() -> None:
    with pytest.raises(SourcePayloadInvalid, match=r"lacks nd; its columns are 'a', 'b'"):
        read_table(b"a,b\n1,2\n", ("a", "nd"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("neso/validation_error.json", r"query: \(ProgrammingError\) syntax error at end of input"),
        ("neso/unknown_action.json", "Action name not known: package_shwo"),
    ],
)
def test_what_ckan_refuses_is_said_in_its_own_words(
    payload: Payload, name: str, message: str
) -> None:
    with pytest.raises(SourceRejected, match=message):
        read_table(payload(name), ("nd",))


def test_a_page_in_place_of_a_table_is_no_reply(payload: Payload) -> None:
    with pytest.raises(SourcePayloadInvalid, match=r"a page, not JSON.*Attention Required!"):
        read_table(payload("neso/blocked.html"), ("nd",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"success": true}',
        b'{"success": true, "result": 4}',
        b'{"success": true, "result": {"records": {}}}',
        b'{"success": true, "result": {"records": [',
    ],
)
def test_json_that_is_no_table_raises(body: bytes) -> None:
    with pytest.raises(SourcePayloadInvalid):
        read_table(body, ("nd",))


def test_a_package_gives_its_resources_and_the_exact_name_decides(payload: Payload) -> None:
    resources, rejected = parse_package_show(payload("neso/package_show.json"))
    found = find_resource(resources, "DFS Utilisation Report")
    assert found == Resource(
        id="00000000-0000-4000-8000-0000000000a2",
        name="DFS Utilisation Report",
        url="https://api.neso.energy/b.csv",
        last_modified=read_utc("2031-07-10T19:00:00Z", "at"),
        format="CSV",
    )
    assert rejected == (Rejected("result.resources[2]", "id is null; text is needed"),)
    assert parse_resource_show(payload("neso/resource_show.json")) == found


def test_a_name_that_is_not_there_says_what_is(payload: Payload) -> None:
    resources, _ = parse_package_show(payload("neso/package_show.json"))
    with pytest.raises(SourceRejected, match=r"named 'DFS'; it holds DFS Utilisation Report;"):
        find_resource(resources, "DFS")
