"""A replay's progress: a live line on a terminal, a line now and then on a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

_LINES_ON_A_PIPE = 6


@dataclass(slots=True)
class Situation:
    """What is shown."""

    tick: int = 0
    ticks: int = 0
    clock: str = ""
    sources: str = ""
    registered: int = 0
    awarded: int = 0
    waiting: int = 0
    conversations: int = 0
    gap: float | None = None
    avoided_kg: float = 0.0
    spool: int = 0


class Progress:
    """Shows the situation on stderr while a replay runs."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._printed = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
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

    def say(self, text: str) -> None:
        """Tell about a step that is no tick."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, now: Situation) -> None:
        """Show where the replay stands."""
        if self._live is not None:
            self._live.update(_table(now))
            return
        part = now.tick * _LINES_ON_A_PIPE // max(now.ticks, 1)
        if part > self._printed and not self._quiet:
            self._printed = part
            self._console.print(_line(now), highlight=False, soft_wrap=True)


def _line(now: Situation) -> str:
    gap = "" if now.gap is None else f", gap {now.gap:.2%}"
    return (
        f"  tick {now.tick}/{now.ticks} ({now.clock}): {now.awarded} of {now.registered} awarded, "
        f"{now.conversations} conversations{gap}, {now.avoided_kg:,.0f} kg avoided"
    )


def _table(now: Situation) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    done = "━" * (30 * now.tick // max(now.ticks, 1))
    table.add_row("[bold]Clock", f"{now.clock}   {done:<30} {now.tick}/{now.ticks}")
    table.add_row("[bold]Sources", now.sources)
    table.add_row(
        "[bold]Workloads",
        f"{now.registered} registered, {now.awarded} awarded, {now.waiting} waiting",
    )
    gap = "-" if now.gap is None else f"{now.gap:.2%}"
    table.add_row("[bold]Market", f"{now.conversations} conversations, last gap {gap}")
    table.add_row("[bold]Carbon", f"{now.avoided_kg:,.0f} kg avoided so far")
    table.add_row("[bold]Spool", f"{now.spool} rows on their way to Supabase")
    return table
