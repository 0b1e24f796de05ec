"""``scenarios serve``: the four sources on this machine, from a scenario, until Ctrl-C."""

from __future__ import annotations

import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scenarios.loader import load
from schema.errors import InputError
from schema.periods import format_instant

_MOST_PORT = 65_535
_SOURCES = 4


class Pace(StrEnum):
    """How the served time goes by."""

    WALL = "wall"
    VIRTUAL = "virtual"


def serve(
    name: Annotated[str, typer.Argument(help="A bundled scenario, or the path of a folder.")],
    *,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's own.")] = None,
    port_base: Annotated[
        int | None, typer.Option(help="First of four ports; any free ones if left out.")
    ] = None,
    clock: Annotated[
        Pace, typer.Option(help="'wall': real pace; 'virtual': --speed times as fast.")
    ] = Pace.WALL,
    speed: Annotated[float, typer.Option(help="Of a virtual clock.")] = 60.0,
    log: Annotated[
        Path | None, typer.Option(help="File for the access log, one line of JSON a request.")
    ] = None,
) -> None:
    """Serve the four sources over HTTP, with only what they would have published by now."""
    if port_base is not None and not 1 <= port_base <= _MOST_PORT - _SOURCES + 1:
        allowed = f"1 to {_MOST_PORT - _SOURCES + 1}"
        raise InputError(f"--port-base {port_base}: {allowed} is allowed", value=port_base)
    if not speed > 0:
        raise InputError(f"--speed {speed:g} must be above 0", value=speed)
    scenario = load(name, seed)
    # Imported here: other commands need no web server.
    from scenarios.serve.clock import PacedClock
    from scenarios.serve.server import UpstreamServer

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    served = PacedClock(scenario.start, speed if clock is Pace.VIRTUAL else 1.0)
    with UpstreamServer(scenario, served, port_base=port_base, log=log) as server:
        lines = [f"export {name}={value}" for name, value in server.environment.items()]
        if clock is Pace.WALL:
            lines.append(f"export GRIDPACT_CLOCK_OFFSET_S={served.offset_s:.6f}")
        typer.echo("\n".join(lines))
        started = format_instant(scenario.start)
        console.print(f"serving {scenario.name} from {started} on; Ctrl-C stops")
        threading.Event().wait()
