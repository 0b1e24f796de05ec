"""``bench``: figures on this machine, with what they are compared to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from agents.plan_objective import Objective
from schema.errors import InputError
from schema.units import KG_PER_TONNE
from storage.machine import machine
from storage.present import Form, console, write_json, write_rows
from storage.settings_loader import load_settings

if TYPE_CHECKING:
    from agents.bench.case import Case
    from agents.bench.run import Found

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, help="Figures on this machine, with what they are compared to."
)

_SHARDS = (1, 2, 4, 8)
_LARGEST = 2_000_000


@app.callback()
def bench() -> None:
    """Figures on this machine, with what they are compared to."""


@app.command()
def negotiate(
    *,
    workloads: Annotated[
        str | None, typer.Option(metavar="N,N", help="Sizes of made-up work.")
    ] = None,
    shards: Annotated[
        str, typer.Option(metavar="S,S", help="Shard processes: of 1, 2, 4 and 8.")
    ] = "2",
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds of the made-up work.")] = "1,2,3",
    traces: Annotated[
        str, typer.Option(metavar="T,T", help="Shapes of the made-up work: pai, azure.")
    ] = "pai,azure",
    runs: Annotated[int, typer.Option(min=1, help="Of each case; times are medians.")] = 3,
    quality: Annotated[str, typer.Option(help="fast, normal or best.")] = "normal",
    objective: Annotated[
        Objective,
        typer.Option(help="What counts; carbon leaves out delay costs too."),
    ] = Objective.BALANCED,
    windows: Annotated[
        int, typer.Option(min=0, metavar="K", help="Beckn windows; they hold 10 % of the energy.")
    ] = 0,
    overload: Annotated[
        float, typer.Option(min=0.01, max=10.0, help="Factor of all capacity; 0.6 is too little.")
    ] = 1.0,
    on_top_of: Annotated[
        int, typer.Option(min=0, help="Settle so many workloads before; theirs is taken.")
    ] = 0,
    vs: Annotated[
        str,
        typer.Option(
            metavar="R,R", help="Of highs, cats, cats-anywhere, gaia, lwa, fcfs, at-once; or all."
        ),
    ] = "",
    grid: Annotated[Path | None, typer.Option(help="CSV of the grid, as for plan.")] = None,
    work: Annotated[Path | None, typer.Option(help="CSV of the workloads, as for plan.")] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="In this process alone, without Ray.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Negotiate made-up or given work through shard actors on Ray: time, gap, misses, carbon.

    Figures are the worst of all seeds and traces. Compiling is kept out of them.
    """
    from agents.bench.rivals import Rival
    from agents.bench.run import Plan, measure_all, warn_if_busy
    from agents.core.market.negotiate import Options, Quality

    rivals = tuple(Rival) if vs == "all" else _listed(vs, "--vs", Rival, list(Rival))
    plan = Plan(
        shards=_listed(shards, "--shards", _shard_count, _SHARDS),
        runs=runs,
        options=Options(quality=_one_of(quality, "--quality", Quality, list(Quality))),
        rivals=rivals,
        folder=None if in_process else _ray_folder(),
    )
    if grid is None and work is None:
        cases: Iterable[Case] = _made(
            workloads or "1000,10000,100000", seeds, traces, objective, windows, overload, on_top_of
        )
    else:
        cases = _given(grid, work, workloads, objective)
    status = Console(stderr=True, highlight=False)
    with status.status("measuring") as spinner:
        found = measure_all(cases, plan, spinner.update)
    if as_json:
        from agents.bench.report import document

        asked = {
            "quality": quality,
            "objective": str(objective),
            "windows": windows,
            "overload": overload,
            "on_top_of": on_top_of,
            "runs": runs,
            "in_process": in_process,
        }
        write_json(document(found, machine(), **asked))
    else:
        _print(found)
    warn_if_busy(found, status.print)


@app.command()
def traffic(
    *,
    workloads: Annotated[
        str, typer.Option(metavar="N,N", help="Sizes of made-up work.")
    ] = "100000,200000",
    shards: Annotated[str, typer.Option(metavar="S,S", help="Shards: of 1, 2, 4 and 8.")] = "2,8",
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up work.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Count what manager and shards would send each other, in this process and without Ray.

    What a round takes decides how many shards a manager can have; what a workload adds decides
    how large its memory must be.
    """
    from agents.bench.traffic import growth as growth_of
    from agents.bench.traffic import measure_traffic
    from agents.core.market.instances import Trace
    from agents.core.market.negotiate import Options

    counts = _listed(shards, "--shards", _shard_count, _SHARDS)
    cases = _made(workloads, str(seed), str(Trace.PAI), Objective.BALANCED, 0, 1.0, 0)
    measured = [measure_traffic(case, count, Options()) for case in cases for count in counts]
    growth = growth_of(measured)
    if as_json:
        write_json({"traffic": [asdict(one) for one in measured], "growth": [*map(asdict, growth)]})
        return
    lines = [
        {name: value for name, value in asdict(one).items() if name != "kinds"} for one in measured
    ]
    write_rows(lines, Form.TABLE, title="A negotiation in calls and bytes")
    kinds = [{"message": name, **asdict(kind)} for name, kind in measured[-1].kinds.items()]
    last = f"{measured[-1].workloads:,} workloads, {measured[-1].shards} shards"
    write_rows(kinds, Form.TABLE, title=f"\nBy kind of message: {last}")
    for one in growth:
        parts = ", ".join(f"{name} {rate:g}" for name, rate in one.growing.items())
        console().print(
            f"{one.shards} shards: a workload more adds {one.bytes_a_workload:g} bytes once a "
            f"negotiation ({parts}), and its shard holds {one.held_a_workload:g} bytes for it"
        )


def _print(found: Found) -> None:
    from agents.bench.measure import SETTLEMENT, growth_exponent
    from agents.bench.report import (
        phase_lines,
        referee_lines,
        result_lines,
        results,
        rival_lines,
    )

    rows = results(found.measured)
    write_rows(result_lines(rows), Form.TABLE, title="Negotiations, the worst of all cases")
    write_rows(phase_lines(rows), Form.TABLE, title="\nSeconds by phase, medians of the runs")
    screen = console()
    last = [row for row in rows if row.shards == rows[-1].shards]
    whole = growth_exponent(last, lambda one: one.negotiate_s)
    settling = growth_exponent(last, lambda one: one.phases[SETTLEMENT])
    if whole is not None and settling is not None:
        screen.print(
            f"\ntime grows with workloads to the power of {whole:.2f}, the settlement's of "
            f"{settling:.2f}, between the two largest sizes"
        )
    screen.print(f"compiling, or reading compiled code: {found.compile_s:.1f} s, in no other time")
    if found.rivals:
        write_rows(
            rival_lines(found.rivals, found.measured),
            Form.TABLE,
            title="\nThe same work by others, with the same capacity",
        )
    if found.verdicts:
        write_rows(
            referee_lines(found.verdicts, found.measured),
            Form.TABLE,
            title="\nExact solver: linear optimum by column generation",
        )


def _made(
    workloads: str,
    seeds: str,
    traces: str,
    objective: Objective,
    windows: int,
    overload: float,
    on_top_of: int,
) -> Iterator[Case]:
    from agents.bench.case import made_case, on_top
    from agents.core.market.instances import Trace

    sizes = _listed(workloads, "--workloads", _size, ("1 to 2000000",))
    seed_list = _listed(seeds, "--seeds", _seed, ("0, 1, 2 …",))
    shapes = _listed(traces, "--traces", Trace, list(Trace))
    value = load_settings().carbon_value_gbp_per_tonne / KG_PER_TONNE

    def cases() -> Iterator[Case]:
        for count in sizes:
            for trace in shapes:
                for seed in seed_list:
                    case = made_case(
                        count + on_top_of,
                        seed=seed,
                        trace=trace,
                        objective=objective,
                        carbon_value_gbp_per_kg=value,
                        windows=windows,
                        overload=overload,
                    )
                    yield on_top(case, count) if on_top_of else case

    return cases()


def _given(
    grid: Path | None, work: Path | None, workloads: str | None, objective: Objective
) -> list[Case]:
    from agents.bench.case import read_case

    if grid is None or work is None:
        missing = "--grid" if grid is None else "--work"
        raise InputError(f"{missing} is missing: given work needs --grid G.csv --work W.csv")
    if workloads is not None:
        raise InputError("--workloads makes work up, and --work gives it; leave one of them out")
    value = load_settings().carbon_value_gbp_per_tonne / KG_PER_TONNE
    return [read_case(grid, work, objective=objective, carbon_value_gbp_per_kg=value)]


def _ray_folder() -> Path:
    # Before anything imports ray: it reads its environment when it is imported.
    from agents.ray_env import prepare
    from storage.home import prepare_home, resolve_home

    return prepare(prepare_home(load_settings().home or resolve_home()))


def _listed(
    text: str, option: str, read: Callable[[str], T], allowed: list[T] | tuple[object, ...]
) -> tuple[T, ...]:
    """Read values separated by commas."""
    return tuple(_one_of(part.strip(), option, read, allowed) for part in text.split(",") if part)


def _one_of(
    text: str, option: str, read: Callable[[str], T], allowed: list[T] | tuple[object, ...]
) -> T:
    try:
        return read(text)
    except ValueError:
        raise InputError(
            f"{option} {text}: allowed are {', '.join(map(str, allowed))}",
            field=option,
            value=text,
        ) from None


def _shard_count(text: str) -> int:
    return _SHARDS[_SHARDS.index(int(text))]


def _size(text: str) -> int:
    count = int(text)
    if not 1 <= count <= _LARGEST:
        raise ValueError(text)
    return count


def _seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise ValueError(text)
    return seed
