"""``bench replay``: phases add up to the run, and equal replays are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.bench.replays import TimedReplay, figures
from scenarios.bench.timed_stage import Phase
from scenarios.loader import load
from schema.errors import InvariantViolated

MINI = str(Path(__file__).parent / "mini")


def timed(wall_s: float, digest: str = "same", **seconds: float) -> TimedReplay:
    phases = {phase: seconds.get(phase.value, 0.0) for phase in Phase}
    return TimedReplay(wall_s, phases, digest, messages=5, workloads=3)


def test_seconds_are_medians_a_simulated_day_without_the_start() -> None:
    scenario = load(MINI)
    days = scenario.ticks * scenario.tick.total_seconds() / 86_400
    told = figures(
        scenario,
        [
            timed(10.0, open=4.0, polls=3.0, decide=2.0),
            timed(9.0, open=1.0, polls=5.0, decide=1.0),
            timed(7.0, open=2.0, polls=1.0, decide=4.0),
        ],
        where="here",
    )
    # Without the start 6, 8 and 5 s; medians one by one.
    assert told.days == pytest.approx(days)
    assert told.wall_s_per_day * days == pytest.approx(6.0)
    assert told.open_s == pytest.approx(2.0)
    assert told.phases_s_per_day["polls"] * days == pytest.approx(3.0)
    assert told.phases_s_per_day["decide"] * days == pytest.approx(2.0)
    assert "open" not in told.phases_s_per_day


def test_replays_that_differ_give_no_figure() -> None:
    with pytest.raises(InvariantViolated, match="different digests: one, other"):
        figures(load(MINI), [timed(1.0, "one"), timed(1.0, "other")], where="here")


@pytest.mark.long
def test_the_command_replays_in_this_process_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from run_cluster import run as run_command

    home = tmp_path / "home"
    monkeypatch.setenv("GRIDPACT_HOME", str(home))
    assert run_command(["bench", "replay", MINI, "--repeat", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (here,) = told["results"]
    assert (here["where"], here["runs"]) == ("in this process", 2)
    assert set(here["phases_s_per_day"]) == {"polls", "decide", "store", "drain"}
    assert all(seconds > 0 for seconds in here["phases_s_per_day"].values())
    parts = sum(here["phases_s_per_day"].values())
    # Of two replays a median is the mean, and the run is told in thousandths of a second.
    assert parts <= here["wall_s_per_day"] + 0.05
    assert list(home.iterdir()) == [], "its spools are gone"
