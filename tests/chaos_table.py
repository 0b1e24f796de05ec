"""The one table of the chaos run: each promise, how often it was tried, how often it was broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_HEADER = ("promise", "trials", "failures", "rate below", "command")
_PYTEST = ".venv/bin/python -m pytest "

#: Notes a promise, its trials and the list of its failures.
Tally = Callable[..., None]


@dataclass(frozen=True)
class Line:
    """What one test found."""

    promise: str
    trials: int
    failures: int
    control: bool
    test: str
    note: str
    """Figures behind the trials, if there are any to tell."""

    def cells(self) -> tuple[str, ...]:
        """Give the line's cells.

        No failure in N trials bounds the rate of failures at 3 / N with 95 % confidence. A control
        is a planted fault: there the failure is not to see it.
        """
        bound = "-" if self.control or self.failures else f"{min(1.0, 3 / self.trials):.2g}"
        name = f"planted fault seen: {self.promise}" if self.control else self.promise
        return (name, f"{self.trials:,}", f"{self.failures:,}", bound, _PYTEST + self.test)


def drawn(lines: Sequence[Line]) -> list[str]:
    """Draw the table, and below it what there is to tell of some lines."""
    ordered = sorted(lines, key=lambda line: (line.control, line.promise))
    rows = [_HEADER, *(line.cells() for line in ordered)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            cell.rjust(width) if 0 < number < len(row) - 1 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return table + [f"{line.promise}: {line.note}" for line in ordered if line.note]
