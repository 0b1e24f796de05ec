"""Past days into the live run: stretch by stretch, each once, resumed where it ended.

Rows have the ids that a live run gives them. What the database holds already is read first, and
only what is new or changed is written. A day is noted as done when its rows were accepted by the
spool; a day whose figures still settle is asked again the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from fetchers.history import ONE_DAY, Days, HistoryFeed, stretches
from fetchers.history_reader import HistoryReader, Past
from scenarios.ops.merging import Held, merge
from schema.clock import Clock
from schema.errors import ConfigurationError, SourceError
from schema.periods import LONDON, format_instant
from schema.rows import Row, ScenarioRunRow
from schema.rows.system import RunKind, RunState
from storage.client import StorageClient
from storage.embedded.files import read_json, write_private_json
from storage.ports import Filter, Operator, equal

#: How long after its end a day's figures may still settle.
SETTLING = timedelta(days=2)
BARRIER_S = 600.0
_PUT_ROWS = 2000


@dataclass(slots=True)
class BackfillOutcome:
    """What a backfill did; rows are counted without the log of requests."""

    run_id: str
    source: str
    days: Days
    stretches: int = 0
    requests: int = 0
    read: int = 0
    new: int = 0
    changed: int = 0
    known: int = 0
    rejected: int = 0
    days_done_before: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return {
            "run_id": self.run_id,
            "source": self.source,
            "from": self.days.first.isoformat(),
            "to": self.days.last.isoformat(),
            "stretches": self.stretches,
            "requests": self.requests,
            "rows": {
                "read": self.read,
                "new": self.new,
                "changed": self.changed,
                "known": self.known,
                "rejected": self.rejected,
            },
            "days_done_before": self.days_done_before,
            "failed": self.failed,
        }


class Book:
    """Which days of which feed are done, in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = read_json(path) or {}
        except ConfigurationError:
            # It only saves requests: a damaged one is begun anew.
            content = {}
        self._done = {
            name: {date.fromisoformat(str(day)) for day in days}
            for name, days in content.items()
            if isinstance(days, list)
        }

    def holds(self, feed: str, day: date) -> bool:
        """Say whether a day of a feed is done."""
        return day in self._done.get(feed, ())

    def note(self, feed: str, days: Iterable[date]) -> None:
        """Note days as done; on disk when this returns."""
        self._done.setdefault(feed, set()).update(days)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private_json(
            self._path,
            {name: [day.isoformat() for day in sorted(done)] for name, done in self._done.items()},
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of one feed that is done, for whoever watches."""

    number: int
    count: int
    feed: str
    days: Days
    rows: int
    written: int


class Backfill:
    """One source's past into one run.

    Args:
        reader: Asks the source.
        storage: Takes the rows; its spool is this backfill's alone.
        run_id: The live run.
        clock: The live run's clock.
        book: What is done.
        tell: Told every step.
    """

    def __init__(
        self,
        reader: HistoryReader,
        storage: StorageClient,
        run_id: str,
        clock: Clock,
        book: Book,
        tell: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        self._reader = reader
        self._storage = storage
        self._run_id = run_id
        self._clock = clock
        self._book = book
        self._tell = tell

    async def run(self, days: Days, *, again: bool = False) -> BackfillOutcome:
        """Fill the days.

        A feed that fails is left at that stretch, and the next one is begun.

        Args:
            days: Which.
            again: Also ask for days that are done: revisions since are then written.

        Raises:
            GridpactError: Storage failed; what was accepted until then stays.
        """
        plan = self._reader.plan
        outcome = BackfillOutcome(self._run_id, plan.source.value, days)
        # What an earlier backfill left on its way must be there to be compared with.
        await self._storage.barrier(BARRIER_S)
        await self._have_run()
        work = [
            (feed, stretch)
            for feed in plan.feeds
            for stretch in stretches(feed, self._wanted(feed, days, outcome, again=again))
        ]
        left: set[str] = set()
        for number, (feed, stretch) in enumerate(work, start=1):
            if feed.name in left:
                continue
            try:
                past = await self._reader.read(feed, stretch)
            except SourceError as exc:
                left.add(feed.name)
                outcome.failed.append(
                    {"feed": feed.name, "days": str(stretch), "reason": exc.message}
                )
                await self._put_log()
                continue
            written = await self._store(past, stretch, outcome)
            if not past.rejected:
                # What could not be read may be a fault that passes: it is asked again.
                self._book.note(feed.name, self._settled(stretch))
            self._tell(Step(number, len(work), feed.name, stretch, len(past.rows), written))
        await self._storage.barrier(BARRIER_S)
        await self._storage.refresh_views()
        return outcome

    def _wanted(
        self, feed: HistoryFeed, days: Days, outcome: BackfillOutcome, *, again: bool
    ) -> list[date]:
        today = self._clock.now().astimezone(LONDON).date()
        held = [day for day in days.each() if self._reader.plan.holds(feed, day, today)]
        wanted = [day for day in held if again or not self._book.holds(feed.name, day)]
        outcome.days_done_before += len(held) - len(wanted)
        return wanted

    def _settled(self, stretch: Days) -> list[date]:
        now = self._clock.now()
        return [day for day in stretch.each() if Days(day, day).end + SETTLING <= now]

    async def _store(self, past: Past, stretch: Days, outcome: BackfillOutcome) -> int:
        held: dict[str, Held] = {}
        for table in sorted({row.TABLE for row in past.rows}):
            rows = [row for row in past.rows if table == row.TABLE]
            held |= await self._held(table, rows, stretch)
        merged = merge(past.rows, held, self._run_id, self._clock.now().replace(microsecond=0))
        records = [*merged.new, *merged.changed]
        for start in range(0, len(records), _PUT_ROWS):
            await self._storage.put(records[start : start + _PUT_ROWS])
        await self._put_log()
        outcome.stretches += 1
        outcome.requests += past.requests
        outcome.read += len(past.rows)
        outcome.new += len(merged.new)
        outcome.changed += len(merged.changed)
        outcome.known += merged.known
        outcome.rejected += past.rejected
        return len(records)

    async def _put_log(self) -> None:
        logged = [row.to_record(self._run_id) for row in self._reader.take_log()]
        if logged:
            await self._storage.put(logged)

    async def _held(self, table: str, rows: Sequence[Row], stretch: Days) -> dict[str, Held]:
        column = "valid_from" if "valid_from" in type(rows[0]).model_fields else "starts_at"
        sources = sorted({str(row.source) for row in rows})  # type: ignore[attr-defined]
        found = await self._storage.select(
            table,
            filters=[
                equal("run_id", self._run_id),
                Filter("source", Operator.IN, sources),
                Filter(column, Operator.GTE, format_instant(stretch.start)),
                Filter(column, Operator.LT, format_instant(stretch.end)),
            ],
        )
        return {str(row["id"]): row for row in found}

    async def _have_run(self) -> None:
        """Make this spool know the live run, without changing the run's row."""
        found = await self._storage.select(
            "scenario_runs", filters=[equal("run_id", self._run_id)], limit=1
        )
        # A row without a clock is answered as of now. The live run's next start replaces it.
        row, version = ScenarioRunRow(kind=RunKind.LIVE, state=RunState.DONE), 0
        if found:
            there: Any = found[0]
            names = ScenarioRunRow.model_fields.keys() - {"version"}
            row = ScenarioRunRow.model_validate({name: there.get(name) for name in names})
            version = int(there["version"])
        await self._storage.put([row.to_record(self._run_id, version=version)])


def checked_days(first: date, last: date, now: datetime) -> Days:
    """Give a stretch of days that have begun.

    Raises:
        ValueError: It ends before it begins, or begins in the future.
    """
    today = now.astimezone(LONDON).date()
    if last < first:
        msg = f"{first} to {last} ends before it begins"
        raise ValueError(msg)
    if last > today:
        msg = f"{last} has not begun yet; today is {today}"
        raise ValueError(msg)
    if (last - first) > 3660 * ONE_DAY:
        msg = f"{first} to {last} is more than ten years; take it in parts"
        raise ValueError(msg)
    return Days(first, last)
