"""``record``: live replies into capture files, and a scenario made of them."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from pydantic import SecretStr

from fetchers import registry
from fetchers.beckn.plan import BecknPlan
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.sources import BasePlan
from scenarios.live.run import only_one
from scenarios.ops.check_sources import Collector, polled_sources
from scenarios.ops.record import INTERVAL_S, Recorder, Replies
from scenarios.ops.recorded import Recording, read_recording
from scenarios.ops.recorded_scenario import Made, RecordedPlan, make_scenario, slug
from schema.clock import Clock
from schema.errors import ConfigurationError, InputError, ScenarioError
from schema.periods import HALF_HOUR, ceil_half_hour, floor_half_hour, format_instant
from schema.readings import Source
from schema.settings import Settings
from storage.home import prepare_home, resolve_home
from storage.ports import Checkpoint, PutAck
from storage.present import write_json
from storage.settings_loader import load_settings
from storage.system_clock import SystemClock

#: A table of regional forecasts has at most 400,000 rows: five days of revisions fit.
MAX_HOURS = 120
ONCE_H = 24


def record(
    out: Annotated[Path, typer.Option(help="Folder to make; must not exist.")],
    *,
    sources: Annotated[
        str | None, typer.Option(help="Some of the sources, separated by commas; all if absent.")
    ] = None,
    hours: Annotated[
        int | None, typer.Option(min=1, max=MAX_HOURS, help="How long to record, from now on.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Ask once: the last 24 hours as the sources tell them.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the scenario; the folder's if absent.")
    ] = None,
    workloads: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many the scenario draws by seed.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of what was not recorded.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Record what the live sources say, and make a scenario of it that can be replayed."""
    if once == (hours is not None):
        msg = "say how long: --hours N from now on, or --once for the last 24 hours; one of the two"
        raise InputError(msg, field="hours")
    if out.exists():
        raise InputError(f"{out} exists; choose another --out", field="out", value=str(out))
    settings = load_settings()
    clock = SystemClock(settings.clock_offset_s, settings.clock_speed)
    home = prepare_home(settings.home or resolve_home())
    chosen = _chosen(sources)
    with ExitStack() as stack:
        if Source.NESO in chosen:
            chosen = _without_neso_if_taken(stack, home, chosen, named=sources is not None)
        begun = clock.now()
        try:
            out.mkdir(parents=True)
        except OSError as exc:
            msg = f"{out} cannot be made: {exc.strerror}; choose another --out"
            raise InputError(msg, field="out", value=str(out)) from exc
        recorder = _recorder(out, chosen, settings, clock)
        start = ceil_half_hour(begun) if hours else floor_half_hour(begun) - timedelta(hours=ONCE_H)
        until = start + timedelta(hours=hours) if hours else None
        if until is not None:
            _say(f"recording until {format_instant(until)}; Ctrl-C ends it with what there is")
        try:
            asyncio.run(_record(recorder, start, until))
        except KeyboardInterrupt:
            _say("interrupted; making a scenario of what there is")
    recording = read_recording(out)
    plan = RecordedPlan(
        name=name or slug(out.resolve().name),
        start=start,
        half_hours=_length(start, clock.now(), hours, out),
        workloads=workloads,
        seed=seed,
    )
    made = make_scenario(out, recording, plan)
    if as_json:
        write_json(_document(out, plan, recording, made, recorder.faults))
    else:
        _print(out, plan, recording, made, recorder.faults)


async def _record(recorder: Recorder, start: datetime, until: datetime | None) -> None:
    await recorder.past(start)
    await recorder.live(until)


def _length(start: datetime, now: datetime, hours: int | None, out: Path) -> int:
    """Give the half hours of the replay: those wished for, or those there was time for."""
    if hours is None:
        return 2 * ONCE_H
    there = min(2 * hours, (now - start) // HALF_HOUR)
    if there < 1:
        msg = (
            f"not half an hour was recorded, too little for a scenario; the replies are in {out} "
            "and can be read by `parse`"
        )
        raise ScenarioError(msg, path=str(out))
    return int(there)


def _recorder(out: Path, chosen: list[str], settings: Settings, clock: Clock) -> Recorder:
    run_id = str(uuid4())

    def make(source: str, replies: Replies) -> Fetcher:
        return Fetcher(
            _plan(source, registry.base_url(source, settings), run_id),
            run_id=run_id,
            clock=clock,
            transport=None,
            storage=_Nowhere(),
            seed=0,
            incarnation=f"record-{source}-{run_id}",
            settings=FetcherSettings(interval_s=INTERVAL_S),
            on_reply=replies.keep,
        )

    return Recorder(
        sources=chosen,
        replies=Replies(out, clock, _secrets(settings)),
        clock=clock,
        make=make,
        address=lambda source: registry.base_url(source, settings),
        tell=_say,
    )


class _Nowhere(Collector):
    """Takes rows and forgets them: the replies are what is kept."""

    async def put(self, records: object, checkpoint: Checkpoint | None = None) -> PutAck:
        """Forget the rows."""
        del records, checkpoint
        return PutAck(0, 0)


def _plan(source: str, address: str, run_id: str) -> BasePlan:
    if source == Source.BECKN:
        return BecknPlan(address, run_id=run_id)
    make = registry.definition(source).plan
    if make is None:
        msg = f"source {source!r} has parsers only; its package gives no plan, so it is not polled"
        raise ConfigurationError(msg, source=source)
    return make(address)


def _chosen(text: str | None) -> list[str]:
    known = polled_sources()
    if text is None:
        return known
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in chosen if word not in known]
    if unknown or not chosen:
        value = unknown[0] if unknown else text
        msg = f"--sources names {value!r}; known are {', '.join(known)}"
        raise InputError(msg, field="sources", value=value)
    return chosen


def _without_neso_if_taken(
    stack: ExitStack, home: Path, chosen: list[str], *, named: bool
) -> list[str]:
    """Leave NESO to the live pipeline: its two data requests a minute are not enough for both."""
    try:
        stack.enter_context(only_one(home))
    except ConfigurationError as exc:
        said = f"NESO allows two data requests a minute, and the live pipeline uses them: {exc}"
        if named:
            raise InputError(said, field="sources", value=Source.NESO.value) from exc
        _say(f"{said}; neso is left out")
        return [source for source in chosen if source != Source.NESO]
    return chosen


def _secrets(settings: Settings) -> list[str]:
    values = (getattr(settings, field) for field in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _document(
    out: Path, plan: RecordedPlan, recording: Recording, made: Made, faults: list[str]
) -> dict[str, object]:
    return {
        "folder": str(out),
        "scenario": plan.name,
        "start": format_instant(plan.start),
        "end": format_instant(plan.end),
        "replies": dict(sorted(recording.replies.items())),
        "unreadable": recording.unreadable,
        "tables": {
            name: {"recorded": count.recorded, "estimated": count.estimated}
            for name, count in made.tables.items()
        },
        "windows": {"taken": made.windows[0], "left_out": made.windows[1]},
        "method": made.scenario.file.grid.method,
        "faults": faults,
    }


def _print(
    out: Path, plan: RecordedPlan, recording: Recording, made: Made, faults: list[str]
) -> None:
    total = sum(recording.replies.values())
    typer.echo(
        f"{total} replies recorded; {out} is a valid scenario: {made.scenario.ticks} ticks from "
        f"{format_instant(plan.start)} on"
    )
    typer.echo(f"method: {made.scenario.file.grid.method}")
    if faults:
        typer.echo(f"{len(faults)} requests failed, the first: {faults[0]}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
