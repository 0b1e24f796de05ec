"""Memory, open files and threads of every process of ours over time, and whether they grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean

from process_kit import Launched, command_line
from replay_world import World

from agents.listeners import process_tree

#: Stretches whose means a slope is drawn through: longer than the memory of what is sampled.
BLOCKS = 10
#: Of Student's t with BLOCKS - 2 degrees of freedom, 97.5 %.
_T_QUANTILE = 2.306
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Sign:
    """What one process, or all of one server, had at a moment. Sizes in MiB."""

    at_s: float
    rss: float
    private: float
    """What no other process shares: Private_Clean + Private_Dirty."""
    files: int
    threads: int


@dataclass(frozen=True)
class Slope:
    """Growth an hour with its 95 % confidence interval."""

    an_hour: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.an_hour:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


@dataclass
class VitalSigns:
    """Samples by name of process."""

    samples: dict[str, list[Sign]] = field(default_factory=lambda: defaultdict(list))
    disk: list[tuple[float, int, int]] = field(default_factory=list)
    """Moment, bytes of the spool and of its log."""

    def look(self, launched: Launched, world: World, at_s: float) -> None:
        """Take one sample of everything that lives now."""
        for pid in (launched.pid, *launched.workers()):
            self._note(_name(pid, launched), [pid], at_s)
        health = world.server.supervisor.health()
        if health.postgres_pid is not None:
            # Its processes come and go with the connections: all of them are one.
            self._note("PostgreSQL, all of it", process_tree(health.postgres_pid), at_s)
        if health.api_pid is not None:
            self._note("REST API", [health.api_pid], at_s)
        for path in world.home.glob("spool/*-live/spool.db"):
            wal = path.with_name("spool.db-wal")
            self.disk.append((at_s, _size(path), _size(wal)))

    def _note(self, name: str, pids: Iterable[int], at_s: float) -> None:
        found = [sign for pid in pids if (sign := sign_of(pid, at_s)) is not None]
        if found:
            self.samples[name].append(
                Sign(
                    at_s,
                    sum(sign.rss for sign in found),
                    sum(sign.private for sign in found),
                    sum(sign.files for sign in found),
                    sum(sign.threads for sign in found),
                )
            )

    def lasting(self, warm_up_s: float) -> dict[str, list[Sign]]:
        """Give the samples after the warm-up of what lived all the time."""
        longest = max(len(signs) for signs in self.samples.values())
        kept = {
            name: [sign for sign in signs if sign.at_s >= warm_up_s]
            for name, signs in sorted(self.samples.items())
            if len(signs) > 0.9 * longest
        }
        return {name: signs for name, signs in kept.items() if len(signs) >= 2 * BLOCKS}


def slope_of(signs: Sequence[Sign], figure: Callable[[Sign], float]) -> Slope:
    """Give the growth of a figure and what is known of it.

    Samples a few seconds apart are hardly news of each other, so that a line through all of them
    knows its slope far too well. They are cut into ten stretches of equal length; the line goes
    through the ten means, and its interval is theirs.
    """
    first, last = signs[0].at_s, signs[-1].at_s
    length = (last - first) / BLOCKS
    cut: list[list[Sign]] = [[] for _ in range(BLOCKS)]
    for sign in signs:
        cut[min(BLOCKS - 1, int((sign.at_s - first) / length))].append(sign)
    points = [(fmean(s.at_s for s in part), fmean(map(figure, part))) for part in cut if part]
    count = len(points)
    assert count == BLOCKS, f"a stretch of {length:.0f} s has no sample"
    x_mean, y_mean = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    errors = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in points)
    margin = _T_QUANTILE * sqrt(errors / (count - 2) / spread)
    return Slope(slope * _HOUR_S, (slope - margin) * _HOUR_S, (slope + margin) * _HOUR_S)


FIGURES: Mapping[str, Callable[[Sign], float]] = {
    "RSS, MiB": lambda sign: sign.rss,
    "private, MiB": lambda sign: sign.private,
    "files": lambda sign: sign.files,
    "threads": lambda sign: sign.threads,
}


def table_of(lasting: Mapping[str, Sequence[Sign]]) -> list[str]:
    """Draw first and last figures and slopes an hour, as the lines of a Markdown table."""
    lines = [
        f"| Process |{''.join(f' {figure} | slope an hour (95 %) |' for figure in FIGURES)}",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, signs in lasting.items():
        cells = [name]
        for figure in FIGURES.values():
            tenth = max(1, len(signs) // BLOCKS)
            first = fmean(map(figure, signs[:tenth]))
            last = fmean(map(figure, signs[-tenth:]))
            cells += [f"{first:.1f}, {last:.1f}", str(slope_of(signs, figure))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def sign_of(pid: int, at_s: float) -> Sign | None:
    """Look at one process; None where it has just ended."""
    try:
        folder = Path(f"/proc/{pid}")
        lines = (folder / "smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        files = len(list((folder / "fd").iterdir()))
        threads = len(list((folder / "task").iterdir()))
    except (OSError, ValueError):
        return None
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Sign(at_s, sizes["Rss"] / 1024, private / 1024, files, threads)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _name(pid: int, launched: Launched) -> str:
    if pid == launched.pid:
        return "driver"
    words = command_line(pid).split(" ")
    title = words[0].split(".")[0] if words[0].startswith("ray::") else _program(words)
    return f"{title} {pid}"


def _program(words: Sequence[str]) -> str:
    """Name what runs: of Python its script."""
    script = next((word for word in words[:6] if word.endswith(".py")), words[0])
    return Path(script).name
