"""``bench replay``: how long a simulated day takes, and what takes it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from agents.core.warm import compile_kernels
from agents.ray_env import prepare
from scenarios.loader import find, load
from storage.embedded.attach import attach_or_start
from storage.home import prepare_home, resolve_home
from storage.machine import machine
from storage.migrations import migrate
from storage.present import Form, write_json, write_rows
from storage.settings_loader import load_settings

if TYPE_CHECKING:
    from scenarios.bench.replays import ReplayFigures

DEFAULT = "windy-night"


def replay(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A bundled scenario, or the path of a folder.")
    ] = DEFAULT,
    *,
    ray: Annotated[
        bool, typer.Option("--ray", help="On Ray and the embedded Supabase too.")
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="Replays; figures are medians.")] = 3,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Replay a scenario as fast as it goes: seconds a simulated day, by phase.

    Compiling is kept out of them. Rows of the replays are removed again.
    """
    path = str(find(name).resolve())
    scenario = load(path, seed)
    # The embedded one, always: nothing made up goes into a hosted project.
    settings = load_settings().model_copy(update={"supabase_url": None})
    home = prepare_home(settings.home or resolve_home())
    if ray:
        # Before anything imports ray: it reads its environment when it is imported.
        temp_parent = prepare(home)
    from scenarios.bench.replays import in_process, on_ray, replay_often

    console = Console(stderr=True, highlight=False)
    with console.status("compiling") as status:
        compile_kernels()
        here = in_process(scenario, path, settings, home)
        found = [
            replay_often(scenario, here, where="in this process", repeat=repeat, say=status.update)
        ]
        if ray:
            # Ray tells of dead workers on stdout, which is for the answer alone.
            with (
                redirect_stdout(sys.stderr),
                attach_or_start(settings, migrate=migrate, progress=status.update) as endpoint,
            ):
                there = on_ray(
                    scenario, path, settings, home, endpoint=endpoint, temp_parent=temp_parent
                )
                found.append(
                    replay_often(scenario, there, where="on Ray", repeat=repeat, say=status.update)
                )
    if as_json:
        write_json(
            {
                "machine": machine(),
                "scenario": scenario.name,
                "seed": scenario.seed,
                "results": [asdict(one) for one in found],
            }
        )
        return
    write_rows(
        [_line(one) for one in found],
        Form.TABLE,
        title=f"{scenario.name}: seconds a simulated day, medians of {repeat} replays",
    )


def _line(one: ReplayFigures) -> dict[str, Any]:
    return {
        "where": one.where,
        "days": one.days,
        "workloads": one.workloads,
        "s a day": one.wall_s_per_day,
        **one.phases_s_per_day,
        "start, once": one.open_s,
    }
