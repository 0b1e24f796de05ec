"""Processor time of each stage of the way in, as Linux counts it; nothing elsewhere.

    caller      opens rows and writes them by columns, hands them over, waits
    accepting   the spool's writer: writes, syncs, forgets
    sending     the drain: requests and replies
    api         the embedded Supabase's REST server
    postgres    all of PostgreSQL's processes

Of COPY, too: there the caller writes the rows out and PostgreSQL does the rest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")
#: Thread to stage; all other threads of this process are the caller's.
_STAGES = {"spool-writer": "accepting", "storage-drain": "sending"}
#: In a line of /proc/…/stat, counted behind the name: parent, and user and system time in ticks.
_PARENT, _USER, _SYSTEM = 1, 11, 12


class StageTimes:
    """Reads seconds by stage since each process began.

    Args:
        pids: Of the embedded Supabase: ``api_pid`` and ``postgres_pid``, where they are known.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._api = pids.get("api_pid")
        self._postgres = pids.get("postgres_pid")

    def read(self) -> dict[str, float]:
        """Give the seconds of each stage that can be told."""
        if not _PROC.is_dir():
            return {}
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        seconds = {"caller": 0.0, "accepting": 0.0, "sending": 0.0}
        for task in (_PROC / "self" / "task").iterdir():
            stage = _STAGES.get(names.get(int(task.name), ""), "caller")
            seconds[stage] += _seconds(task)[1]
        if self._api is not None:
            seconds["api"] = _seconds(_PROC / str(self._api))[1]
        if self._postgres is not None:
            seconds["postgres"] = sum(
                used
                for process in _PROC.iterdir()
                if process.name.isdecimal()
                for parent, used in [_seconds(process)]
                if self._postgres in (parent, int(process.name))
            )
        return seconds


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Give what each stage used from one reading to the next."""
    return {stage: after[stage] - used for stage, used in before.items() if stage in after}


def _seconds(process: Path) -> tuple[int, float]:
    """Give parent and processor time of a process or thread; zeros when it has gone."""
    try:
        line = (process / "stat").read_text()
    except OSError:
        return 0, 0.0
    fields = line.rpartition(")")[2].split()
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    return int(fields[_PARENT]), ticks / os.sysconf("SC_CLK_TCK")
