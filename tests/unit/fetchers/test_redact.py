"""Secrets are taken out of what is kept; everything else stays, and can still be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers import registry
from fetchers.capture import open_capture, seal
from fetchers.parsing import ParseContext
from fetchers.redact import HIDDEN, clean_address, clean_json, clean_text, is_secret_name
from fetchers.reply import Reply
from fetchers.request import Request

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "access_token",
        "accessToken",
        "X-Api-Key",
        "apikey",
        "APIKEY",
        "beckn:accessToken",
        "Authorization",
        "client_secret",
        "dbPassword",
        "Set-Cookie",
        "private_key",
        "sessionId",
        "beckn:signature",
    ],
)
def test_names_of_secrets_are_known_in_every_spelling(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "fuel",
        "key",
        "code",
        "dataProvider",
        "settlementPeriod",
        "resource_id",
        "linkedServiceWindowID",
        "regionid",
        "priceDerivationCode",
        "tokenised",
        "beckn:id",
        "",
        "_",
    ],
)
def test_names_of_figures_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_an_address_loses_user_password_and_secret_parameters() -> None:
    url = (
        "https://me:pw@api.example/v1/x?from=2031-01-01T00:00Z&key=K1&access_token=T2&fuel=a&fuel=b"
    )
    assert clean_address(url) == (
        "https://api.example/v1/x?from=2031-01-01T00%3A00Z&key=***&access_token=***&fuel=a&fuel=b"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("sb_secret_abc-DEF_123 ok", "*** ok"),
        (f"x {JWT} y", "x *** y"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("postgresql://postgres:hunter2@db.example/x", "postgresql://***@db.example/x"),
        ("https://a.example/f.csv?sig=Q%2B&x=1", "https://a.example/f.csv?sig=***&x=1"),
        ('keyId="a|b|ed25519",signature="c2ln"', 'keyId="a|b|ed25519",signature="***"'),
        ("2031-02-03T04:05:06Z,100,low", "2031-02-03T04:05:06Z,100,low"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_text(text: str, left: str) -> None:
    assert clean_text(text) == left


def test_our_own_secrets_go_whatever_they_look_like() -> None:
    assert clean_text("a hunter2 b hunter22", ["hunter2", "", "hunter22"]) == "a *** b ***"


def test_a_document_keeps_its_form_and_order() -> None:
    document = {
        "context": {"bap_id": "x", "accessToken": "t", "ttl": 30},
        "list": [{"password": 12, "n": 1.5}, None, True],
        "secret": {"nested": "stays, its members are judged by their own names", "token": "t"},
    }
    cleaned = clean_json(document)
    assert json.dumps(cleaned) == json.dumps(
        {
            "context": {"bap_id": "x", "accessToken": HIDDEN, "ttl": 30},
            "list": [{"password": HIDDEN, "n": 1.5}, None, True],
            "secret": {
                "nested": "stays, its members are judged by their own names",
                "token": HIDDEN,
            },
        }
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.text(min_size=6, max_size=12, alphabet="0123456789abcdef"))
def test_a_planted_secret_never_stands_in_the_file(document: object, tail: str) -> None:
    canary = f"canary-{tail}"
    planted = {
        "token": canary,
        "note": f"see sb_secret_{canary} and https://u:{canary}@h/",
        "mine": f"<{canary}>",
        "other": document,
    }
    request = Request("neso", "x", "https://h/p", params=(("apikey", canary), ("q", canary)))
    reply = Reply(200, {"set-cookie": canary}, json.dumps(planted).encode(), "https://h/p")
    assert canary.encode() not in seal(request, reply, AT, [canary])


# -- what was recorded can be read -----------------------------------------------------------


REPLIES = [
    ("carbon_intensity", "intensity-pt24h", "intensity_pt24h.json"),
    ("carbon_intensity", "regional-fw48h", "regional_fw48h_periods.json"),
    ("elexon", "mid-stream", "mid_stream.json"),
    ("elexon", "system-prices", "system_prices.json"),
    ("elexon", "fuelhh", "fuelhh_stream.json"),
    ("neso", "demand-update", "demand_update.csv"),
    ("neso", "eac-results", "eac_results.json"),
    ("neso", "package-show", "package_show.json"),
    ("beckn", "on-discover", "on_discover_sandbox.json"),
    ("beckn", "on-confirm", "on_confirm.json"),
]


@pytest.mark.parametrize(("source", "endpoint", "file"), REPLIES)
def test_a_sealed_reply_parses_to_the_same_rows(source: str, endpoint: str, file: str) -> None:
    body = open_capture((PAYLOADS / source / file).read_bytes(), file).body
    request = Request(source, endpoint, "https://api.example/x")
    sealed = seal(request, Reply(200, {}, body, request.url), AT)
    opened = open_capture(sealed, "capture.json")
    assert opened.captured_at == AT
    parse, context = registry.find(source, endpoint).parse, ParseContext(now=AT)
    assert parse(opened.body, context) == parse(body, context)


def test_a_page_is_kept_as_it_came() -> None:
    request = Request("neso", "demand-update", "https://api.example/x")
    sealed = seal(request, Reply(200, {}, b"<html>\xff no</html>", request.url), AT)
    assert json.loads(sealed)["payload"] == "<html>\ufffd no</html>"
