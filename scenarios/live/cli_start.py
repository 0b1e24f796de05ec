"""``start``: the live pipeline, until Ctrl-C; with ``--once`` one iteration of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from agents.ray_env import on_this_machine, prepare
from scenarios.live.cadence import Cadence
from scenarios.live.choice import chosen_sources
from scenarios.live.logs import logging_to
from scenarios.live.run import live_run_id, only_one, spool_folder, state_folder
from schema.errors import InputError, StorageUnavailable
from schema.rows.system import RunState
from schema.settings import Settings
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home
from storage.migrations import migrate
from storage.preflight import check_supabase
from storage.present import write_json
from storage.settings_loader import load_settings
from storage.system_clock import SystemClock

if TYPE_CHECKING:
    from agents.organisation import Source as OrganisationSource
    from agents.supervisor import Cluster
    from scenarios.live.outcome import LiveOutcome
    from scenarios.live.pipeline import LivePipeline
    from scenarios.live.stage_ray import RayLiveStage
    from scenarios.live.status import LiveScreen

EXIT_INTERRUPTED = 130
DRAIN_TIMEOUT_S = 120.0
#: The views follow the tables at this pace at most.
REFRESH_S = 60.0
#: Beside a replay on the same cluster.
NAMESPACE = "gridpact-live"
#: Of synthetic readings and of ties in the market: the same at every start.
SEED = 0


def start(
    *,
    once: Annotated[bool, typer.Option("--once", help="One iteration, then end.")] = False,
    interval: Annotated[
        float, typer.Option(min=5, max=3600, help="Seconds between two polls of a source.")
    ] = 60.0,
    sources: Annotated[
        str | None, typer.Option(help="Some of the sources, separated by commas; 'beckn' alone.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, host:port.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: one JSON document on stdout.")
    ] = False,
) -> int:
    """Collect live grid data into Supabase and place submitted workloads, until Ctrl-C."""
    chosen = chosen_sources(sources)
    if as_json and not once:
        raise InputError("--json is the answer of one iteration: add --once", field="json")
    settings = load_settings()
    home = prepare_home(settings.home or resolve_home())
    # Before anything imports ray: it reads its environment when it is imported.
    temp_parent = prepare(home, single_machine=on_this_machine(address))
    organisations = _organisations(settings)
    console = Console(stderr=True)
    with ExitStack() as stack:
        # Ray tells of dead workers on stdout, which is for the answer alone.
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(only_one(home))
        endpoint = stack.enter_context(
            attach_or_start(settings, migrate=migrate, progress=lambda text: _say(console, text))
        )
        log_file = stack.enter_context(
            logging_to(
                home / "logs",
                console,
                secrets=_secrets(settings, endpoint),
                quiet=console.is_terminal or once,
            )
        )
        _say(console, f"log: {log_file}")
        _look_at_hosted(endpoint, console)
        if not organisations:
            _say(console, "there is no sites.toml: data is collected, nothing is placed")
        # Imported here, and below: these import ray, whose environment stands only now.
        from agents.supervisor import Cluster
        from scenarios.live.pipeline import LivePipeline
        from scenarios.live.status import LiveScreen

        cluster = Cluster(
            address=address,
            temp_parent=temp_parent,
            namespace=NAMESPACE,
            dashboard=settings.ray_dashboard,
        )
        stage = _stage(
            chosen,
            organisations,
            cluster,
            settings=settings,
            home=home,
            endpoint=endpoint,
            interval_s=interval,
            refresh_interval_s=None if once else max(REFRESH_S, interval),
        )
        stack.callback(stage.close)
        screen = LiveScreen(console, quiet=once)
        pipeline = LivePipeline(
            stage,
            SystemClock(settings.clock_offset_s, settings.clock_speed),
            chosen,
            cadence=Cadence(interval_s=interval, seed=int.from_bytes(os.urandom(4))),
            watch=screen.ticked,
        )
        _say(console, "starting Ray and the actors")
        with asyncio.Runner() as runner:
            if not once:
                runner.run(_until_stopped(pipeline, screen, cluster))
                return EXIT_INTERRUPTED
            outcome = runner.run(_one_iteration(pipeline, stage, endpoint))
    return _answer(outcome, as_json=as_json)


def _stage(
    sources: Sequence[str],
    organisations: Mapping[str, OrganisationSource],
    cluster: Cluster,
    *,
    settings: Settings,
    home: Path,
    endpoint: SupabaseEndpoint,
    interval_s: float,
    refresh_interval_s: float | None,
) -> RayLiveStage:
    """Put the stage together; nothing starts yet."""
    from scenarios.live.stage import live_options
    from scenarios.live.stage_ray import RayLiveStage

    return RayLiveStage(
        sources,
        organisations,
        live_run_id(settings),
        live_options(SEED, settings.carbon_value_gbp_per_tonne / 1000.0),
        cluster=cluster,
        state_file=endpoint.state_file,
        spool=spool_folder(home, endpoint),
        state_folder=state_folder(home, endpoint, settings),
        settings=settings,
        interval_s=interval_s,
        seed=SEED,
        refresh_interval_s=refresh_interval_s,
    )


def _answer(outcome: LiveOutcome | None, *, as_json: bool) -> int:
    """Print how one iteration went; give the exit code."""
    from scenarios.live.outcome import print_summary

    if outcome is None:
        return EXIT_INTERRUPTED
    if as_json:
        write_json(outcome.to_json())
    else:
        print_summary(outcome, Console(file=sys.stdout))
    return 0


async def _until_stopped(pipeline: LivePipeline, screen: LiveScreen, cluster: Cluster) -> None:
    """Run until a signal asks for the end."""
    state = RunState.FAILED
    try:
        await pipeline.open()
        with _stopping(pipeline), screen.follow(pipeline.situation):
            await pipeline.run()
        if cluster.lost is None:
            state = RunState.DONE
    finally:
        await pipeline.farewell(state)


async def _one_iteration(
    pipeline: LivePipeline, stage: RayLiveStage, endpoint: SupabaseEndpoint
) -> LiveOutcome | None:
    """Do everything once; None when a signal asked for the end before."""
    from scenarios.live.outcome import LiveOutcome, negotiation_of, sources_of, workloads_of

    began = time.monotonic()
    state = RunState.FAILED
    try:
        await pipeline.open()
        with _stopping(pipeline):
            await pipeline.once()
        if pipeline.stopped:
            state = RunState.INTERRUPTED
            return None
        state = RunState.DONE
    finally:
        await pipeline.farewell(state)
    rows = await stage.drain(DRAIN_TIMEOUT_S)
    return LiveOutcome(
        run_id=stage.run_id,
        wall_s=round(time.monotonic() - began, 3),
        sources=sources_of(pipeline),
        workloads=workloads_of(pipeline),
        negotiation=negotiation_of(pipeline),
        rows=rows,
        supabase={"mode": endpoint.mode, "url": endpoint.url},
    )


@contextlib.contextmanager
def _stopping(pipeline: LivePipeline) -> Iterator[None]:
    """Turn signals into the wish to stop; a second one changes nothing more."""
    wishes = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(wish) for wish in wishes]
    loop = asyncio.get_running_loop()
    for wish in wishes:
        loop.add_signal_handler(wish, _stop, pipeline)
    try:
        yield
    finally:
        for wish, handler in zip(wishes, before, strict=True):
            loop.remove_signal_handler(wish)
            # Stopping goes on after this block; a second signal must not leave half of it undone.
            signal.signal(wish, _stopping_already if pipeline.stopped else handler)


def _stop(pipeline: LivePipeline) -> None:
    if pipeline.stopped:
        _stopping_already(0, None)
    else:
        os.write(2, b"stopping\n")
        pipeline.stop()


def _stopping_already(_signal: int, _frame: FrameType | None) -> None:
    # No buffered writer: the signal may have come in the midst of one.
    os.write(2, b"stopping already; what is not sent yet is safe in the spool\n")


def _organisations(settings: Settings) -> Mapping[str, OrganisationSource]:
    """Give where each organisation's sites come from; none without a file of sites."""
    from scenarios.live.sites import find_sites, organisation_sources

    path = find_sites(settings.sites, Path.cwd())
    return {} if path is None else organisation_sources(path)


def _secrets(settings: Settings, endpoint: SupabaseEndpoint) -> list[str]:
    """Give every text that no log may hold."""
    keys = (settings.supabase_key, settings.supabase_db_url)
    found = [endpoint.secret_key, endpoint.database_url or ""]
    found += [key.get_secret_value() for key in keys if key is not None]
    return [*found, *(password for text in found if (password := urlsplit(text).password))]


def _look_at_hosted(endpoint: SupabaseEndpoint, console: Console) -> None:
    """See that a hosted Supabase takes our rows; one that is away is waited for in the spool."""
    if endpoint.mode != "hosted":
        # An embedded one was migrated just now, and its key is its own.
        return
    try:
        check_supabase(endpoint)
    except StorageUnavailable as exc:
        _say(console, f"{exc.message}; rows wait in the spool until it is back")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
