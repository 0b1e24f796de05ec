"""``scenarios serve``: the four sources on this machine, from a scenario, until Ctrl-C."""

from __future__ import annotations

import threading
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scenarios.loader import load
from scenarios.model import AckShape
from schema.errors import InputError
from schema.periods import format_instant

_MOST_PORT = 65_535
_SOURCES = 4
_MOST_SPEED = 100_000
#: What the setting ``clock_speed`` allows: faster than that ``start`` cannot poll.
_MOST_FOLLOWED = 100


class Pace(StrEnum):
    """How the served time goes by."""

    WALL = "wall"
    VIRTUAL = "virtual"


class Talk(StrEnum):
    """How the Beckn provider answers."""

    SYNC = "sync"
    ASYNC = "async"


class Spelling(StrEnum):
    """How the Beckn provider spells its context."""

    AS_ASKED = "as-asked"
    SNAKE = "snake"
    CAMEL = "camel"


_CAMEL = {Spelling.AS_ASKED: None, Spelling.SNAKE: False, Spelling.CAMEL: True}


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
    from_h: Annotated[float, typer.Option(help="Hours into the scenario at which to begin.")] = 0.0,
    log: Annotated[
        Path | None, typer.Option(help="File for the access log, one line of JSON a request.")
    ] = None,
    faults: Annotated[
        str, typer.Option(help="SOURCE:KIND[=VALUE][:FROM-TO][:PATH],… or random[:SEED].")
    ] = "",
    beckn: Annotated[
        Talk, typer.Option(help="Answers in the reply, or an ACK and callbacks.")
    ] = Talk.SYNC,
    beckn_case: Annotated[
        Spelling, typer.Option(help="Spelling of Beckn's context.")
    ] = Spelling.AS_ASKED,
    beckn_ack: Annotated[AckShape, typer.Option(help="Shape of the ACK.")] = AckShape.MESSAGE_ACK,
) -> None:
    """Serve the four sources over HTTP, with only what they would have published by now."""
    if port_base is not None and not 1 <= port_base <= _MOST_PORT - _SOURCES + 1:
        allowed = f"1 to {_MOST_PORT - _SOURCES + 1}"
        raise InputError(f"--port-base {port_base}: {allowed} is allowed", value=port_base)
    if not 0 < speed <= _MOST_SPEED:
        msg = f"--speed {speed:g}: above 0 and up to {_MOST_SPEED} is allowed"
        raise InputError(msg, value=speed)
    scenario = load(name, seed)
    if not 0 <= from_h < scenario.file.duration_h:
        msg = f"--from-h {from_h:g}: 0 to below {scenario.file.duration_h:g} is allowed"
        raise InputError(f"{msg}, the hours of {scenario.name}", value=from_h)
    # Imported here: other commands need no web server.
    from scenarios.serve.beckn import BecknMode
    from scenarios.serve.clock import PacedClock
    from scenarios.serve.server import UpstreamServer

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    start = scenario.start + timedelta(hours=from_h)
    served = PacedClock(start, speed if clock is Pace.VIRTUAL else 1.0)
    server = UpstreamServer(
        scenario,
        served,
        port_base=port_base,
        log=log,
        faults=faults,
        beckn=BecknMode(beckn is Talk.ASYNC, _CAMEL[beckn_case], beckn_ack),
    )
    with server:
        lines = [f"export {name}={value}" for name, value in server.environment.items()]
        if 1 <= served.speed <= _MOST_FOLLOWED:
            lines.append(f"export GRIDPACT_CLOCK_OFFSET_S={served.offset_s:.6f}")
        if 1 < served.speed <= _MOST_FOLLOWED:
            lines.append(f"export GRIDPACT_CLOCK_SPEED={served.speed:g}")
        typer.echo("\n".join(lines))
        console.print(f"serving {scenario.name} from {format_instant(start)} on; Ctrl-C stops")
        threading.Event().wait()
