"""Peak memory of processes, as Linux counts it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_RESET_PEAK = "5"
_KIB_PER_MIB = 1024


def forget_peaks(pids: Iterable[int]) -> None:
    """Begin counting anew: from here on a peak is that of the time after."""
    for pid in pids:
        switch = Path(f"/proc/{pid}/clear_refs")
        if switch.exists():
            switch.write_text(_RESET_PEAK)


def peak_mib(pids: Iterable[int]) -> float | None:
    """Add up the peak resident memory of processes, in MiB; None where it cannot be known.

    Pages that processes share count in each, and peaks need not fall together, so the sum is
    never too low.
    """
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status")
        if not status.exists():
            return None
        total += next(
            int(line.split()[1])
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM:")
        )
    return total / _KIB_PER_MIB
