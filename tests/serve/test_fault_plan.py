"""Faults as they are written, and which of them hits a request."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from scenarios.model import FaultKind, WireFault
from scenarios.serve.faults import ActiveFaults, Fault, FaultPlan, Kind
from schema.clock import VirtualClock
from schema.errors import InputError
from schema.readings import Source

_START = datetime(2026, 2, 3, 15, tzinfo=UTC)


def _one(text: str) -> Fault:
    (fault,) = FaultPlan.parse(text).faults
    return fault


def test_a_fault_is_written_as_source_kind_value_time_and_path() -> None:
    assert _one("neso:throttle=60:120-300:/datastore_search") == Fault(
        Source.NESO, Kind.THROTTLE, 60.0, "", 120.0, 300.0, "/datastore_search"
    )


def test_what_is_left_out_is_always_everywhere_and_the_usual_value() -> None:
    fault = _one("elexon:error")
    assert (fault.amount, fault.from_s, fault.to_s, fault.path) == (500, -math.inf, math.inf, "")


def test_an_open_end_lasts_and_underscores_are_hyphens() -> None:
    fault = _one("carbon-intensity:wrong_types:10-")
    assert (fault.source, fault.kind) == (Source.CARBON_INTENSITY, Kind.WRONG_TYPES)
    assert (fault.from_s, fault.to_s) == (10, math.inf)


def test_a_path_may_hold_colons() -> None:
    assert _one("carbon_intensity:hang:/intensity/2026-02-03T15:00Z").path == (
        "/intensity/2026-02-03T15:00Z"
    )


def test_all_is_every_source() -> None:
    assert [fault.source for fault in FaultPlan.parse("all:hang").faults] == list(Source)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nesso:hang", "there is no source 'nesso'; did you mean 'neso'"),
        ("neso", "names no kind; one of refuse, reset"),
        ("neso:hung", "there is no kind 'hung'; did you mean 'hang'"),
        ("neso:hang=3", "hang takes no value"),
        ("neso:error=404", "error takes a number from 500 to 599"),
        ("neso:error=bad", "error takes a number from 500 to 599"),
        ("neso:truncated=left", "truncated takes one of right, wrong"),
        ("neso:nack", "nack is a fault of beckn alone"),
        ("all:stale-resource", "stale-resource is a fault of neso alone"),
        ("neso:hang:30-10", "the second 10 must be after 30"),
        ("random:x", "write random or random:SEED"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        FaultPlan.parse(text)


def test_a_fault_hits_its_source_time_and_path_alone() -> None:
    plan = FaultPlan.parse("neso:hang:10-20:/package_show")
    hit = plan.listed(Source.NESO, "/api/3/action/package_show", 10)
    assert hit is not None
    assert hit.kind is Kind.HANG
    for source, path, elapsed_s in (
        (Source.ELEXON, "/package_show", 10),
        (Source.NESO, "/resource_show", 10),
        (Source.NESO, "/package_show", 9.9),
        (Source.NESO, "/package_show", 20),
    ):
        assert plan.listed(source, path, elapsed_s) is None


def _active(clock: VirtualClock, text: str, own: WireFault | None = None) -> ActiveFaults:
    return ActiveFaults(clock, lambda _source, _path, _now: own, FaultPlan.parse(text))


def test_seconds_count_on_the_servers_clock_from_its_start() -> None:
    clock = VirtualClock(_START)
    active = _active(clock, "neso:refuse:60-90")
    seen = []
    for _ in range(4):
        seen.append(active.refused(Source.NESO))
        clock.advance(timedelta(seconds=30))
    assert seen == [False, False, True, False]


def test_a_port_is_not_closed_for_one_path() -> None:
    active = _active(VirtualClock(_START), "neso:refuse:/package_show")
    assert not active.refused(Source.NESO)
    fault = active.of(Source.NESO, "/package_show")
    assert fault is not None
    assert fault.kind is Kind.REFUSE


@pytest.mark.parametrize(
    ("own", "kind", "amount"),
    [
        (FaultKind.TIMEOUT, Kind.HANG, None),
        (FaultKind.THROTTLE, Kind.THROTTLE, 7.0),
        (FaultKind.SERVER_ERROR, Kind.ERROR, 500.0),
    ],
)
def test_the_scenarios_own_faults_are_done_after_those_asked_for(
    own: FaultKind, kind: Kind, amount: float | None
) -> None:
    wire = WireFault(kind=own, source=Source.NESO, from_h=0, to_h=1, retry_after_s=7)
    active = _active(VirtualClock(_START), "neso:html:/package_show", wire)
    first = active.of(Source.NESO, "/package_show")
    second = active.of(Source.NESO, "/resource_show")
    assert first is not None
    assert second is not None
    assert (first.kind, second.kind) == (Kind.HTML, kind)
    assert amount is None or second.amount == amount


def test_every_fault_of_a_scenario_has_one_of_a_server() -> None:
    for kind in FaultKind:
        if kind is FaultKind.NACK:
            continue  # an answer of the provider, not a fault of the wire
        wire = WireFault(kind=kind, source=Source.ELEXON, from_h=0, to_h=1)
        fault = _active(VirtualClock(_START), "", wire).of(Source.ELEXON, "/x")
        assert fault is not None


def _timeline(seed: int, source: Source) -> list[str]:
    plan = FaultPlan.parse(f"random:{seed}")
    drawn = [plan.drawn(source, float(second)) for second in range(3600)]
    return ["" if fault is None else fault.kind.value for fault in drawn]


def test_random_faults_are_the_same_for_the_same_seed_and_differ_by_source() -> None:
    assert _timeline(7, Source.NESO) == _timeline(7, Source.NESO)
    assert _timeline(7, Source.NESO) != _timeline(8, Source.NESO)
    assert _timeline(7, Source.NESO) != _timeline(7, Source.ELEXON)


def test_random_faults_come_and_go_and_are_of_every_kind_a_source_can_have() -> None:
    line = [kind for seed in range(8) for kind in _timeline(seed, Source.BECKN)]
    # Every second minute has a spell of 5 to 30 s, on average 17.5: 17.5 / 120 = 15 % of the time.
    bad = sum(1 for kind in line if kind) / len(line)
    assert 0.10 < bad < 0.20
    assert set(line) - {""} == set(Kind) - {Kind.STALE_RESOURCE}
    assert Kind.NACK not in set(_timeline(7, Source.NESO))
