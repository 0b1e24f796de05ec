"""``replay``: a scenario through Ray actors into Supabase."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console

from agents.ray_env import NAMESPACE, on_this_machine, prepare
from scenarios.loader import find, load
from scenarios.outcome import ReplayOutcome, print_summary
from scenarios.progress import Progress
from schema.errors import InputError
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home, spool_folder
from storage.migrations import migrate
from storage.preflight import check_supabase
from storage.present import write_json
from storage.settings_loader import load_settings

MAX_SPEED = "max"
SHARDS = (1, 2, 4, 8)


def replay(
    name: Annotated[str, typer.Argument(help="A bundled scenario, or the path of a folder.")],
    *,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's own.")] = None,
    speed: Annotated[
        str, typer.Option(help="'max', or a multiple of real time like 60x.")
    ] = MAX_SPEED,
    shards: Annotated[int, typer.Option(help="Processes of each organisation: 1, 2, 4 or 8.")] = 1,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, host:port.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Replay a scenario: real actors, real negotiation, every message in Supabase."""
    if shards not in SHARDS:
        raise InputError(f"--shards {shards}: 1, 2, 4 or 8 are allowed", value=shards)
    path = str(find(name).resolve())
    scenario = load(path, seed)
    pace_s = pace_of(speed, scenario.tick)
    settings = load_settings()
    home = prepare_home(settings.home or resolve_home())
    # Before anything imports ray: it reads its environment when it is imported.
    temp_parent = prepare(home, single_machine=on_this_machine(address))
    console = Console(stderr=True)
    progress = Progress(console, quiet=as_json)
    with ExitStack() as stack:
        # Ray tells of dead workers on stdout, which is for the answer alone.
        stack.enter_context(redirect_stdout(sys.stderr))
        endpoint = stack.enter_context(
            attach_or_start(settings, migrate=migrate, progress=progress.say)
        )
        if endpoint.mode == "hosted":
            # An embedded one was migrated just now, and its key is its own.
            check_supabase(endpoint)
        outcome = _on_ray(
            stack,
            scenario_path=path,
            seed=scenario.seed,
            endpoint=endpoint,
            home=home,
            temp_parent=temp_parent,
            address=address,
            shards=shards,
            pace_s=pace_s,
            progress=progress,
        )
    if as_json:
        write_json(outcome.to_json())
    else:
        print_summary(outcome, Console(file=sys.stdout))


def _on_ray(
    stack: ExitStack,
    *,
    scenario_path: str,
    seed: int,
    endpoint: SupabaseEndpoint,
    home: Path,
    temp_parent: Path,
    address: str | None,
    shards: int,
    pace_s: float,
    progress: Progress,
) -> ReplayOutcome:
    # Imported here: these import ray, whose environment stands only now.
    from agents.core.conversation import ManagerOptions
    from agents.supervisor import Cluster
    from scenarios.replay import Replay
    from scenarios.stage_ray import RayStage

    settings = load_settings()
    scenario = load(scenario_path, seed)
    run_id = str(uuid4())
    stage = RayStage(
        scenario,
        scenario_path,
        run_id,
        ManagerOptions(
            seed=seed, carbon_value_gbp_per_kg=settings.carbon_value_gbp_per_tonne / 1000.0
        ),
        cluster=Cluster(
            address=address,
            temp_parent=temp_parent,
            # Replays may share a cluster, and their actors have the same names.
            namespace=NAMESPACE if address is None else f"{NAMESPACE}-{run_id}",
            dashboard=settings.ray_dashboard,
        ),
        state_file=endpoint.state_file,
        spool=spool_folder(home, settings.supabase_url),
        settings=settings,
        shards=shards,
    )
    stack.callback(stage.close)
    progress.say(f"starting Ray and {stage.actors} actors")
    run = Replay(
        scenario,
        run_id,
        stage,
        progress,
        pace_s=pace_s,
        supabase={"mode": endpoint.mode, "url": endpoint.url},
    )
    with progress:
        return run.run()


def pace_of(speed: str, tick: timedelta) -> float:
    """Give the wall seconds of a tick; 0 for as fast as it goes.

    Raises:
        InputError: ``speed`` is neither ``max`` nor a multiple of real time such as ``60x``.
    """
    if speed == MAX_SPEED:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", speed)
    if match is None or float(match[1]) == 0.0:
        raise InputError(f"--speed {speed!r}: 'max' or a multiple such as 60x is allowed")
    return tick.total_seconds() / float(match[1])
