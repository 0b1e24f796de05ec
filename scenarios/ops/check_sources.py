"""Is a source there, does it answer in a form we read, and is what it says fresh?

One cheap request a source, through the same shell that a live run uses: HTTP client, limits,
parsers. Only the retries are left out, so that an answer comes soon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import httpx

from fetchers import registry
from fetchers.beckn.plan import BecknPlan
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.neso.fetcher import NesoPlan
from fetchers.parsing import ParseContext
from fetchers.reply import Reply
from fetchers.report import PollReport
from fetchers.request import Request
from fetchers.retry import RetryPolicy
from fetchers.sources import BasePlan, FeedTurn, Reading
from scenarios.ops.findings import Finding, fail, ok, warn
from schema.clock import Clock
from schema.errors import ConfigurationError
from schema.periods import format_instant, parse_instant
from schema.readings import Quality, Source
from schema.rows import Record
from schema.rows.system import Outcome
from schema.settings import Settings
from storage.ports import Checkpoint, PutAck
from storage.probe import server_time

#: The feed that is asked: small, never empty, and what the market rests on where it can be. Of a
#: source that another package brings it is the first one.
FEEDS: Mapping[str, str] = {
    Source.CARBON_INTENSITY: "intensity-fw48h",
    Source.NESO: "demand-forecast-1d",
    Source.ELEXON: "demand-outturn",
    Source.BECKN: "on-discover",
}
#: How old the newest half hour of Elexon's outturn may be; how far the forecast must reach.
OUTTURN_AGE = timedelta(hours=3)
FORECAST_REACH = timedelta(hours=24)
_INTERVAL_S = 60.0

_HINTS: Mapping[Outcome, str] = {
    Outcome.THROTTLED: "wait some minutes; something else on this address asks the source too",
    Outcome.REJECTED: "check the source's address in `run_cluster.py config show`",
    Outcome.INVALID_PAYLOAD: (
        "the source has changed its form, or something between answers for it; keep a reply with "
        "`run_cluster.py record --once` and report it"
    ),
    Outcome.NOT_YET_PUBLISHED: "the source has nothing to say yet; check again in some minutes",
}
_AWAY = (
    "see that this machine reaches {host} (network, proxy, firewall); meanwhile a live run goes on "
    "with the last forecast, then with synthetic figures"
)
_SANDBOX = (
    "this is the public sandbox, which may be gone; set GRIDPACT_BECKN_URL to a network of yours, "
    "or go on without windows"
)


class CatalogueOnly(NesoPlan):
    """NESO's plan without the data files: two of those a minute are a live run's alone."""

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read the catalogue's entry and follow no further than the catalogue."""
        return replace(super().read(turn, request, reply, context), then=())


class Collector:
    """Takes rows as storage does, and keeps them for whoever asked."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Keep the rows; a checkpoint has nothing to come back to."""
        del checkpoint
        self.records.extend(records)
        return PutAck(len(records), 0)


@dataclass(slots=True)
class SourceCheck:
    """One source's check, with what it brought.

    Attributes:
        source: Its name.
        records: Rows of its answer, its request log included.
        skews_s: By how many seconds its clock was ahead of ours, as often as it said so.
    """

    source: str
    records: list[Record] = field(default_factory=list)
    skews_s: list[float] = field(default_factory=list)

    async def run(
        self,
        settings: Settings,
        run_id: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> Finding:
        """Ask the source once.

        Args:
            settings: Name its address.
            run_id: The run that its rows are stamped for.
            clock: The wall clock, moved as the settings say.
            transport: In place of the network, for tests.

        Raises:
            ConfigurationError: A package's source that cannot be used.
        """
        address = registry.base_url(self.source, settings)
        collector = Collector()
        fetcher = Fetcher(
            _plan(self.source, address, run_id),
            run_id=run_id,
            clock=clock,
            transport=transport,
            storage=collector,
            seed=0,
            incarnation=f"check-{self.source}-{run_id}",
            settings=FetcherSettings(interval_s=_INTERVAL_S, retry=RetryPolicy(attempts=1)),
            on_reply=lambda _request, reply: self._hear(reply, clock.now()),
        )
        try:
            report = await fetcher.poll(clock.now().replace(microsecond=0))
        finally:
            await fetcher.close()
        # A fetcher makes figures up for a source that is out: a check wants what was said.
        self.records = [
            record
            for record in collector.records
            if record.columns().get("quality") != Quality.SYNTHETIC
        ]
        return self._judge(report, settings, clock.now())

    def _hear(self, reply: Reply, now: datetime) -> None:
        said = server_time(reply.headers.get("date"))
        if said is not None:
            self.skews_s.append((said - now).total_seconds())

    def _judge(self, report: PollReport, settings: Settings, now: datetime) -> Finding:
        (asked,) = report.asked
        if asked.outcome not in {Outcome.OK, Outcome.NOT_MODIFIED}:
            return self._complain(asked.outcome, asked.error or asked.outcome.value, settings)
        if report.rejected:
            return warn(
                f"{report.rejected} of {report.rejected + report.rows} rows of {asked.feed} could "
                "not be used",
                _HINTS[Outcome.INVALID_PAYLOAD],
            )
        if self.source == Source.NESO:
            return ok("the catalogue answers")
        stale = self._stale(now)
        said = f"{report.rows} rows of {asked.feed}"
        return ok(said) if stale is None else warn(f"{said}, {stale}", "check again in a while")

    def _complain(self, outcome: Outcome, said: str, settings: Settings) -> Finding:
        if outcome is Outcome.NOT_YET_PUBLISHED:
            return warn(said, _HINTS[outcome])
        address = registry.base_url(self.source, settings)
        default = Settings.model_fields["beckn_url"].default
        if self.source == Source.BECKN and address == default:
            return warn(said, _SANDBOX)
        return fail(said, _HINTS.get(outcome, _AWAY.format(host=httpx.URL(address).host)))

    def _stale(self, now: datetime) -> str | None:
        """Say what is old about an answer that is otherwise right."""
        ends = [
            parse_instant(str(columns["valid_to"]))
            for record in self.records
            if "valid_to" in (columns := record.columns())
        ]
        if self.source == Source.CARBON_INTENSITY:
            reach = max(ends, default=now)
            if reach < now + FORECAST_REACH:
                return f"but the forecast ends at {format_instant(reach)}, not two days ahead"
        if self.source == Source.ELEXON:
            newest = max((end for end in ends if end <= now), default=None)
            if newest is None or newest < now - OUTTURN_AGE:
                when = "none" if newest is None else format_instant(newest)
                return f"but the newest half hour is old: {when}"
        return None


def polled_sources() -> list[str]:
    """Name the sources that can be asked: ours, and those that other packages bring whole.

    One whose package is broken is among them, so that its check can say so.
    """
    names = []
    for name in registry.sources():
        try:
            polled = registry.definition(name).plan is not None or name == Source.BECKN
        except ConfigurationError:
            polled = True
        if polled:
            names.append(name)
    return names


def _plan(source: str, address: str, run_id: str) -> BasePlan:
    plan: BasePlan
    if source == Source.BECKN:
        plan = BecknPlan(address, run_id=run_id)
    elif source == Source.NESO:
        plan = CatalogueOnly(address)
    else:
        make = registry.definition(source).plan
        assert make is not None, "polled_sources names only those with a plan"
        plan = make(address)
    wanted = FEEDS.get(source, plan.feeds[0].name)
    plan.feeds = tuple(feed for feed in plan.feeds if feed.name == wanted)
    return plan
