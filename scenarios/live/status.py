"""What a live run shows: a table that renews itself on a terminal, a line a tick on a pipe."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scenarios.live.track import Situation, Track
from schema.periods import parse_instant

REFRESHES_PER_SECOND = 2


class LiveScreen:
    """Shows the situation on stderr while a live run goes on.

    Args:
        console: Where.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None

    def follow(self, look: Callable[[], Situation]) -> Self:
        """Name what gives the situation whenever the table is drawn."""
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                get_renderable=lambda: table(look()),
            )
        return self

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def ticked(self, now: Situation) -> None:
        """Say in a line how a tick went, where there is no table."""
        if self._live is None and not self._quiet:
            self._console.print(line(now), markup=False, highlight=False, soft_wrap=True)


def line(now: Situation) -> str:
    """Write the situation in one line."""
    sources = ", ".join(f"{track.name} {_short(track)}" for track in now.tracks)
    return f"{now.now:%H:%M:%S}Z tick {now.tick}: {sources}; {_work(now)}; {_spool(now)}"


def table(now: Situation) -> RenderableType:
    """Lay the situation out for a terminal."""
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("source", "last success", "lag", "breaker", "next due", "rows", "fallbacks", ""):
        numeric = name in {"lag", "rows", "fallbacks"}
        rows.add_column(name, justify="right" if numeric else "left", no_wrap=bool(name))
    for track in now.tracks:
        state = "asking" if track.busy else track.problem or ""
        rows.add_row(
            track.name,
            _ago(track.last_success, now.now),
            "-" if track.lag_s is None else f"{track.lag_s * 1000:,.0f} ms",
            Text(track.breaker, style="" if track.breaker == "closed" else "bold red"),
            _ahead(track.next_due, now.now),
            f"{track.rows:,}",
            f"{track.fallbacks:,}",
            Text(state, style="dim", overflow="ellipsis", no_wrap=True),
        )
    return Group(
        Text(f"{now.now:%a %d %b %H:%M:%S}Z   tick {now.tick}   Ctrl-C ends", style="bold"),
        rows,
        Text(f"{_work(now)}; {_spool(now)}"),
    )


def _short(track: Track) -> str:
    if track.problem is not None:
        return f"{track.rows} rows ({track.problem})"
    return f"{track.rows} rows"


def _work(now: Situation) -> str:
    if not now.sites:
        return "nothing is placed: no sites"
    return f"{now.awarded} of {now.registered} workloads placed, {now.waiting} waiting"


def _spool(now: Situation) -> str:
    if now.unsent is None:
        return "storage does not answer"
    said = f"{now.unsent} rows on their way to Supabase"
    return f"{said} ({now.trouble[0]})" if now.trouble else said


def _ago(instant: str | None, now: datetime) -> str:
    if instant is None:
        return "never"
    return f"{_span((now - parse_instant(instant)).total_seconds())} ago"


def _ahead(instant: str | None, now: datetime) -> str:
    if instant is None:
        return "-"
    ahead = (parse_instant(instant) - now).total_seconds()
    return "now" if ahead <= 0 else f"in {_span(ahead)}"


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {secs:02d} s" if minutes else f"{secs} s"
