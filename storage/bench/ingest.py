"""Timing the way from the spool into Supabase, beside COPY.

Three passages take turns, each over rows of its own:

    stored  from the first put to the last row's arrival: acceptance and sending at the same time
    sent    rows that wait in the spool already, to the last one's arrival
    copied  COPY, the yardstick

First all rows are new, then the same keys come again with a higher version and other figures.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from statistics import median
from uuid import uuid4

from schema.clock import Clock
from schema.errors import StorageError
from schema.periods import format_instant
from schema.rows import Record, ScenarioRunRow
from schema.rows.system import RunKind
from storage.bench.copy_path import CopyPath, as_values
from storage.bench.processor_time import StageTimes, between
from storage.bench.rows import TABLE, made_records
from storage.client import StorageClient
from storage.ports import Filter, Operator, equal
from storage.service import StorageService
from storage.supabase_store import SupabaseStore

#: Of the runs that are made and removed again; no scenario can be called it.
SCENARIO = "(bench)"
#: Rows of the passage that nobody counts: connections open, and batches reach their size.
WARM_ROWS = 10_000
LEFT_BEHIND_AFTER = timedelta(hours=1)
_TIMEOUT_S = 600.0

Say = Callable[[str], None]


class Passage(StrEnum):
    """How rows went in."""

    STORED = "stored"
    SENT = "sent"
    COPIED = "copied"


class Path(StrEnum):
    """What the rows meet."""

    INSERT = "insert"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Timed:
    """One passage of all rows.

    Attributes:
        processor_s: Processor time of each stage; see ``storage.bench.processor_time``.
    """

    path: Path
    passage: Passage
    seconds: float
    processor_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PathFigures:
    """Medians of one path; names and order are those of the JSON document.

    Attributes:
        ours_rows_per_s: Accepted and stored; ``ratio`` to ``copy_rows_per_s``.
        sending_rows_per_s: Of rows that were accepted before; ``sending_ratio`` likewise.
        ratios: Of each round; what ran beside it weighs on both of its sides.
        ours_us_per_row: Processor time by stage, microseconds a row, of all rounds together;
            ``copy_us_per_row`` likewise. What waits (for a disk, for the other core) is not in it.
    """

    path: str
    ours_rows_per_s: float
    copy_rows_per_s: float
    ratio: float
    sending_rows_per_s: float
    sending_ratio: float
    ratios: list[float]
    sending_ratios: list[float]
    ours_us_per_row: dict[str, float]
    copy_us_per_row: dict[str, float]


class IngestBench:
    """Measures; for one event loop.

    Args:
        service: Open, over a spool that nobody else uses.
        janitor: The same database by another connection: makes runs and deletes them.
        copy: The yardstick, on the same database.
        clock: The real one.
        seed: Of the figures.
        stages: Tells processor time.
    """

    def __init__(
        self,
        service: StorageService,
        janitor: SupabaseStore,
        copy: CopyPath,
        *,
        clock: Clock,
        seed: int,
        stages: StageTimes,
    ) -> None:
        self._stages = stages
        self._service, self._janitor, self._copy = service, janitor, copy
        self._client = StorageClient(service)
        self._clock, self._seed = clock, seed

    async def measure(self, rows: int, repeat: int, say: Say) -> list[Timed]:
        """Warm up, then give the passages of all rounds."""
        await self._janitor.delete_runs(_left_behind(self._clock))
        say("warming up")
        await self._round(min(rows, WARM_ROWS), list(Passage))
        timed = []
        for number in range(repeat):
            say(f"round {number + 1} of {repeat}, {rows:,} rows a passage")
            # Who goes first takes turns.
            turn = number % len(Passage)
            timed += await self._round(rows, [*Passage][turn:] + [*Passage][:turn])
        return timed

    async def _round(self, rows: int, order: Sequence[Passage]) -> list[Timed]:
        runs = {passage: str(uuid4()) for passage in Passage}
        run = ScenarioRunRow(
            kind=RunKind.REPLAY, scenario=SCENARIO, clock_at=self._clock.now(), seed=self._seed
        )
        try:
            await self._service.put_run(runs[Passage.STORED], run)
            await self._service.barrier(_TIMEOUT_S)
            past_the_spool = run.to_record(runs[Passage.COPIED])
            await self._janitor.ingest({past_the_spool.table: [past_the_spool.body]})
            timed = []
            version = 0
            for path in Path:
                for passage in order:
                    version += 1
                    run_id = runs[passage]
                    if path is Path.UPDATE and passage is Passage.SENT:
                        # Keys that are in the database, of a run that the spool does not know.
                        run_id = runs[Passage.COPIED]
                    records = made_records(rows, run_id, seed=self._seed, version=version)
                    seconds, used = await self._seconds(passage, run_id, run, records)
                    timed.append(Timed(path, passage, seconds, used))
                    await self._look(run_id, version, rows)
            return timed
        finally:
            for run_id in runs.values():
                await self._janitor.delete_runs([equal("run_id", run_id)])

    async def _seconds(
        self, passage: Passage, run_id: str, run: ScenarioRunRow, records: list[Record]
    ) -> tuple[float, dict[str, float]]:
        columns, values = as_values(records)
        if passage is Passage.SENT:
            # Facts wait in the spool until the row of their run has been delivered.
            self._client.put_sync(records)
        self._copy.quieten()
        gc.collect()
        before = self._stages.read()
        begun = time.perf_counter()
        match passage:
            case Passage.STORED:
                self._client.put_sync(records)
                await self._service.barrier(_TIMEOUT_S)
            case Passage.SENT:
                await self._service.put_run(run_id, run)
                await self._service.barrier(_TIMEOUT_S)
            case Passage.COPIED:
                self._copy.store(columns, values)
        seconds = time.perf_counter() - begun
        return seconds, between(before, self._stages.read())

    async def _look(self, run_id: str, version: int, rows: int) -> None:
        """See that what was timed has happened."""
        there = await self._janitor.count(
            TABLE, [equal("run_id", run_id), Filter("version", Operator.EQ, version)]
        )
        if there != rows:
            msg = f"{there} of {rows} rows of {TABLE} are in the database; no time is told"
            raise StorageError(msg, table=TABLE)


def figures(rows: int, timed: Sequence[Timed]) -> list[PathFigures]:
    """Give the medians by path; a ratio is that of one round, and its median is the figure."""
    return [_of_path(rows, path, [one for one in timed if one.path is path]) for path in Path]


def _of_path(rows: int, path: Path, timed: Sequence[Timed]) -> PathFigures:
    stored, sent, copied = (
        [one.seconds for one in timed if one.passage is passage] for passage in Passage
    )
    ratios = [copy / ours for copy, ours in zip(copied, stored, strict=True)]
    sending_ratios = [copy / ours for copy, ours in zip(copied, sent, strict=True)]
    return PathFigures(
        path=path.value,
        ours_rows_per_s=rows / median(stored),
        copy_rows_per_s=rows / median(copied),
        ratio=median(ratios),
        sending_rows_per_s=rows / median(sent),
        sending_ratio=median(sending_ratios),
        ratios=ratios,
        sending_ratios=sending_ratios,
        ours_us_per_row=_us_per_row(rows, timed, Passage.STORED),
        copy_us_per_row=_us_per_row(rows, timed, Passage.COPIED),
    )


def _us_per_row(rows: int, timed: Sequence[Timed], passage: Passage) -> dict[str, float]:
    passages = [one.processor_s for one in timed if one.passage is passage]
    return {
        stage: round(sum(used[stage] for used in passages) / len(passages) / rows * 1e6, 1)
        for stage in passages[0]
    }


def _left_behind(clock: Clock) -> list[Filter]:
    """Give the filter of runs that a killed measurement left in the database."""
    limit = format_instant((clock.now() - LEFT_BEHIND_AFTER).replace(microsecond=0))
    return [equal("scenario", SCENARIO), Filter("clock_at", Operator.LT, limit)]
