"""Wire readers: what they take, what they refuse, and that they never raise anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers.wire import (
    Unusable,
    describe,
    describe_refusal,
    instant,
    integer,
    load_json,
    number,
    refusal,
    refusal_error,
    text,
)
from schema.errors import (
    SourcePayloadInvalid,
    SourceRejected,
    SourceThrottled,
    SourceUnavailable,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["2031-02-03T04:00Z", "0001-01-01T00:00+23:59", "1e400", "١٢", "1_0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (1069, 1069),
        ("1069", 1069),
        ("-9747.70", -9747.7),
        (" 1740.600 ", 1740.6),
        ("+.5e1", 5),
        (None, None),
        ("", None),
        ("NA", None),
        ("null", None),
    ],
)
def test_a_number_is_read_in_each_spelling(written: object, expected: float | None) -> None:
    assert number(written, "ND") == expected


@pytest.mark.parametrize(
    "written",
    [True, "1,069", "1_069", "0x10", "inf", "nan", "1e999", "١٢", [], {}, 10**400, float("nan")],
    ids=str,
)
def test_what_is_no_number_is_refused(written: object) -> None:
    with pytest.raises(Unusable, match="ND is "):
        number(written, "ND")


@given(VALUES)
def test_readers_raise_nothing_but_unusable(value: object) -> None:
    for read in (number, integer, instant, text):
        reason = "field is fine"
        try:
            read(value, "field")
        except Unusable as exc:
            reason = str(exc)
        assert reason.startswith("field is ")
        assert len(reason) < 250


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (False, "false"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        ("x" * 100, "'" + "x" * 58 + "…"),
        ("\x00\ud800", "'\\x00\\ud800'"),
        (10**5000, "a number of thousands of digits"),
    ],
    ids=["null", "bool", "object", "list", "long", "unprintable", "huge"],
)
def test_a_value_is_shown_short_and_printable(value: object, shown: str) -> None:
    assert describe(value) == shown


def test_json_with_tokens_beyond_the_standard_is_still_read() -> None:
    assert load_json(b'\xef\xbb\xbf {"a": Infinity, "a": 1e400, "b": 1} ', "x")["b"] == 1
    assert load_json(b'{"a": 1, "a": 2}', "x") == {"a": 2}
    assert load_json(b'"\\ud800"', "x") == "\ud800"


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"\xff\xfe\x00", b"{", b"[" * 2000, b"[" * 5000 + b"]" * 5000, b"1" * 6000 + b"x"],
    ids=["empty", "blank", "binary", "open", "open deep", "deep", "digits"],
)
def test_what_is_no_json_keeps_its_payload(body: bytes) -> None:
    with pytest.raises(SourcePayloadInvalid) as caught:
        load_json(body, "neso")
    assert caught.value.details["payload"] == body[:4096]
    assert caught.value.details["source"] == "neso"


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"error": {"code": "400 Bad Request", "message": "no"}}, SourceRejected, "no"),
        ({"error": {"code": "429 Too Many", "message": "slow"}}, SourceThrottled, "slow"),
        ({"error": {"code": "503", "message": "down"}}, SourceUnavailable, "down"),
        ({"error": "text", "status": 500}, SourceUnavailable, "text"),
        ({"error": {}}, SourceRejected, "no message"),
        ({"success": False}, SourceRejected, "gives no reason"),
        ({"statusCode": 429, "message": "slow\x00 down"}, SourceThrottled, "slow down"),
        (
            {"title": "Bad", "status": 400, "errors": {"from": ["a", 1]}},
            SourceRejected,
            "from: a 1",
        ),
        ({"title": "Bad", "status": True, "errors": [], "detail": "d"}, SourceRejected, "Bad d"),
        ("plain text", SourceRejected, "plain text"),
    ],
)
def test_an_error_body_says_whose_fault_it_is(
    body: object, error: type[Exception], message: str
) -> None:
    found = refusal(body)
    assert found is not None
    raised = refusal_error("elexon", found)
    assert type(raised) is error
    assert raised.message == f"elexon answered: {message}" or message in raised.message


@pytest.mark.parametrize(
    "answer", [{"data": [], "message": "ok"}, {"result": {}, "success": True}, [], 5, {"a": 1}]
)
def test_an_answer_is_no_refusal(answer: object) -> None:
    assert refusal(answer) is None


def test_the_body_of_a_failed_request_is_described_for_a_log() -> None:
    assert describe_refusal(b'{"message": "Forbidden"}', "elexon") == "Forbidden"
    assert "a page" in describe_refusal(b"<html>", "elexon")
    assert describe_refusal(json.dumps({"data": 1}).encode(), "elexon").startswith("the body")
