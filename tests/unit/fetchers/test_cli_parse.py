"""``parse``: JSON, table, list, capture envelopes, requests told apart, exit codes."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from fetchers import registry
from fetchers.cli_parse import parse
from fetchers.parsing import EndpointParser, ParseContext
from schema.errors import (
    ConfigurationError,
    GridpactError,
    InputError,
    SourcePayloadInvalid,
    SourceRejected,
)
from schema.readings import Parsed

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
runner = CliRunner()
app = typer.Typer()
app.command()(parse)


def run(*arguments: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Give exit code, stdout and stderr; an error of ours is raised, as main would catch it."""
    result = runner.invoke(app, [str(argument) for argument in arguments], input=stdin)
    if isinstance(result.exception, GridpactError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def run_json(*arguments: object) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_json_has_exactly_source_endpoint_rows_and_rejected() -> None:
    answer = run_json("elexon", "mid-stream", PAYLOADS / "elexon/mid_stream.json")
    assert list(answer) == ["source", "endpoint", "rows", "rejected"]
    assert (answer["source"], answer["endpoint"]) == ("elexon", "mid-stream")
    assert answer["rows"][2] == {
        "table": "wholesale_prices",
        "source": "elexon",
        "valid_from": "2031-06-30T23:00:00Z",
        "valid_to": "2031-06-30T23:30:00Z",
        "quality": "published",
        "issued_at": None,
        "reason": None,
        "seed": None,
        "version": None,
        "market": "APXMIDP",
        "price_gbp_per_mwh": -3.5,
        "volume_mwh": 1500.25,
    }
    assert [sorted(item) for item in answer["rejected"]] == [["reason", "where"]]


def test_a_capture_envelope_is_unwrapped_and_gives_the_retrieval_time() -> None:
    file = PAYLOADS / "carbon_intensity/intensity_pt24h.json"
    answer = run_json("carbon_intensity", "intensity-pt24h", file)
    assert [row["retrieved_at"] for row in answer["rows"]] == ["2031-02-03T04:00:20Z"] * 3


def test_the_retrieval_time_of_a_bare_reply_can_be_given() -> None:
    file = PAYLOADS / "elexon/generation_current.json"
    answer = run_json(
        "elexon", "generation-current", file, "--retrieved-at", "2031-02-03T04:02:31Z"
    )
    assert {row["retrieved_at"] for row in answer["rows"]} == {"2031-02-03T04:02:31Z"}
    assert {row["valid_from"] for row in answer["rows"]} == {"2031-02-03T03:55:00Z"}


def test_an_envelope_may_hold_text(tmp_path: Path) -> None:
    file = tmp_path / "capture.json"
    content = "SETTLEMENT_DATE,SETTLEMENT_PERIOD,ND\r\n2031-07-02,1,20000\r\n"
    file.write_text(json.dumps({"status": 200, "payload": content}))
    (row,) = run_json("neso", "historic-demand", file)["rows"]
    assert row["national_demand_mw"] == 20000
    assert "retrieved_at" not in row


def test_a_reply_can_come_from_a_pipe() -> None:
    body = (PAYLOADS / "elexon/mid_stream.json").read_bytes()
    code, out, _ = run("elexon", "mid-stream", "-", stdin=body)
    assert code == 0
    assert "3 rows, 1 rejected" in out


def test_people_get_a_short_table_with_reasons() -> None:
    code, out, _ = run("neso", "demand-update", PAYLOADS / "neso/demand_update.csv")
    assert code == 0
    assert "neso demand-update: 3 rows, 3 rejected" in out
    assert "demand_actual_national" in out
    assert "left out: 1 placeholder rows (F)" in out
    assert "rejected row 5: ND is 'lots'; a number is needed" in out
    assert len(out.splitlines()) < 12


def test_a_reply_whose_rows_are_all_rejected_fails() -> None:
    code, out, _ = run("elexon", "fuelhh", PAYLOADS / "elexon/fuelinst_stream.json")
    assert code == 1
    assert "0 rows, 3 rejected" in out


def test_an_empty_reply_is_no_failure_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "empty.json"
    file.write_bytes(b"[]")
    code, out, err = run("elexon", "fuelhh", file, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == []
    assert "nothing is published" in err


def test_the_list_names_every_endpoint_and_the_tables_it_feeds() -> None:
    code, out, _ = run("--list")
    assert code == 0
    for words in (
        ("carbon_intensity", "regional-fw48h", "carbon_intensity_regional"),
        ("neso", "demand-forecast-1d", "demand_forecast_national"),
        ("elexon", "system-prices", "wholesale_prices"),
        ("beckn", "on-discover", "compute_windows"),
    ):
        assert any(all(word in line for word in words) for line in out.splitlines())
    entries = run_json("--list")
    assert {"source", "endpoint", "tables", "description"} == set(entries[0])
    fed = {table for entry in entries for table in entry["tables"]}
    assert fed >= {
        "carbon_intensity_national",
        "carbon_intensity_regional",
        "generation_mix_national",
        "generation_mix_regional",
        "demand_forecast_national",
        "demand_actual_national",
        "demand_regional",
        "wholesale_prices",
        "flexibility_prices",
    }


REQUESTS = [
    pytest.param(
        b'{"context": {"action": "discover"}, "message": {"text_search": "x"}}',
        "'discover'; the reply to it is 'on_discover'",
        id="beckn",
    ),
    pytest.param(
        b'{"url": "https://x", "payload": {"context": {"action": "select"}, "message": {}}}',
        "'select'; the reply to it is 'on_select'",
        id="beckn in an envelope",
    ),
    pytest.param(b'{"method": "GET", "url": "https://x"}', "a method and an address", id="ours"),
    pytest.param(b"GET /intensity HTTP/1.1\r\nHost: x\r\n\r\n", "a request line", id="http"),
]


@pytest.mark.parametrize(("content", "message"), REQUESTS)
def test_a_request_is_told_apart_from_a_reply(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match="holds a request, not a reply") as caught:
        run("beckn", "on-discover", file)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nezo", "demand-update", "x"), "no source 'nezo'; did you mean 'neso'"),
        (("neso", "demand_update", "x"), "did you mean 'demand-update'"),
        (("neso", "qqq", "x"), "Known: demand-forecast-1d"),
        (("neso", "demand-update", "/no/such/file"), "No such file"),
        (("neso", "demand-update", "/"), "Is a directory"),
        (("neso",), "needs SOURCE ENDPOINT FILE"),
        (("neso", "demand-update", "-", "--retrieved-at", "noon"), "'noon' is not an ISO 8601"),
        (("--list", "nezo"), "did you mean 'neso'"),
    ],
)
def test_bad_input_is_said_with_what_is_allowed(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        run(*arguments, stdin=b"[]")
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "written", ["yesterday", 7, "9999-12-31T00:00:00Z", "0001-01-01T00:00+14:00"]
)
def test_an_envelope_with_a_bad_time_is_bad_input(tmp_path: Path, written: object) -> None:
    file = tmp_path / "capture.json"
    file.write_text(json.dumps({"captured_at": written, "payload": {"data": []}}))
    with pytest.raises(InputError, match="captured_at"):
        run("carbon_intensity", "intensity", file)


def test_error_bodies_and_other_replies_fail_with_the_sources_words() -> None:
    with pytest.raises(SourceRejected, match="Please enter a valid start datetime") as caught:
        run("carbon_intensity", "intensity", PAYLOADS / "carbon_intensity/error_400.json")
    assert caught.value.exit_code == 1
    with pytest.raises(SourcePayloadInvalid, match="a page"):
        run("neso", "demand-update", PAYLOADS / "neso/blocked.html")


def test_a_reply_nested_too_deep_in_an_envelope_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_bytes(b'{"status": 200, "payload": ' + b"[" * 990 + b"]" * 990 + b"}")
    with pytest.raises((InputError, SourcePayloadInvalid)):
        run("elexon", "fuelhh", file)


def test_an_unknown_option_is_a_usage_error() -> None:
    result = runner.invoke(app, ["--nope"])
    assert result.exit_code == click.UsageError.exit_code == 2


def breaks(body: bytes, context: ParseContext) -> Parsed:
    raise KeyError("valid_from")


BREAKS = {"prices": EndpointParser(("wholesale_prices",), "prices", breaks)}


@pytest.fixture
def _other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(*, group: str) -> list[EntryPoint]:
        return [
            EntryPoint("absent", "no_such_package_at_all:X", group),
            EntryPoint("broken", f"{__name__}:BREAKS", group),
        ]

    monkeypatch.setattr(registry, "entry_points", points)


@pytest.mark.usefixtures("_other_packages")
def test_a_package_that_cannot_be_loaded_hides_nobody_elses_sources() -> None:
    code, out, err = run("--list")
    assert code == 0
    assert "market-index" in out
    assert "left out: source 'absent'" in err
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        run("absent", "--list")


@pytest.mark.usefixtures("_other_packages")
def test_a_parser_that_breaks_is_named_with_what_it_broke_on(tmp_path: Path) -> None:
    reply = tmp_path / "reply.json"
    reply.write_text("{}")
    with pytest.raises(SourcePayloadInvalid, match=r"broken: the parser failed .*KeyError"):
        run("broken", "prices", reply)


def test_a_rejection_that_quotes_half_a_character_can_be_printed(tmp_path: Path) -> None:
    """An offer for an item of that name: the reason quotes it, and JSON cannot hold it."""
    reply = json.loads((PAYLOADS / "beckn/on_discover_traps.json").read_text())
    document = reply.get("payload", reply)
    (offer, *_) = document["message"]["catalogs"][0]["beckn:offers"]
    offer["beckn:items"] = ["\ud800", "a\x00b"]
    file = tmp_path / "reply.json"
    file.write_text(json.dumps(reply))
    answer = run_json("beckn", "on-discover", file)
    told = " ".join(item["reason"] for item in answer["rejected"])
    assert "\\ud800" in told
    assert "\ud800" not in told
    assert "\x00" not in told
