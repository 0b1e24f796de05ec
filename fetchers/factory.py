"""One fetcher a source, configured: the only list of which plan belongs to which source."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx

from fetchers.beckn.endpoints import BecknParty
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.plan import BecknPlan, CallbackSource
from fetchers.carbon_intensity.fetcher import CarbonIntensityPlan
from fetchers.elexon.fetcher import ElexonPlan
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.neso.fetcher import NesoPlan
from fetchers.sources import BasePlan
from schema.clock import Clock
from schema.readings import Source
from storage.ports import StoragePort

#: Silence after which a source's market figures are made up. Prices appear with some delay anyway.
STALE_AFTER = {Source.ELEXON: timedelta(hours=3)}
DEFAULT_STALE_AFTER = timedelta(hours=2)


def make_fetcher(
    source: str,
    *,
    base_url: str,
    run_id: str,
    clock: Clock,
    storage: StoragePort,
    seed: int,
    transport: httpx.AsyncBaseTransport | None = None,
    incarnation: str | None = None,
    interval_s: float = 60.0,
    state_folder: Path | None = None,
    party: BecknParty | None = None,
) -> Fetcher:
    """Make the fetcher of a source.

    Args:
        source: One of ``schema.readings.Source``.
        base_url: Its address; only that origin is asked.
        run_id: The run that rows belong to.
        clock: The run's clock; in a replay one of its own, which the transport reads too.
        storage: Where rows go.
        seed: Seed of jitter and synthetic readings.
        transport: None for the network. One that has ``callbacks`` also delivers what Beckn
            providers send by themselves.
        incarnation: Minted once a start, live; None in a replay.
        interval_s: Time between polls; a replay's tick.
        state_folder: Where plan, rate limits and orders survive a restart; None keeps them in
            memory.
        party: Who we are on the Beckn network.

    Raises:
        ValueError: No such source.
    """
    kind = Source(source)
    settings = FetcherSettings(
        interval_s=interval_s,
        stale_after=STALE_AFTER.get(kind, DEFAULT_STALE_AFTER),
        state_path=state_folder / f"{kind.value}.json" if state_folder is not None else None,
    )
    if kind is Source.BECKN:
        callbacks = transport if isinstance(transport, CallbackSource) else None
        plan = BecknPlan(base_url, run_id=run_id, party=party, callbacks=callbacks)
        return BecknFetcher(
            plan,
            run_id=run_id,
            clock=clock,
            transport=transport,
            storage=storage,
            seed=seed,
            incarnation=incarnation,
            settings=settings,
        )
    plans: dict[Source, type[BasePlan]] = {
        Source.CARBON_INTENSITY: CarbonIntensityPlan,
        Source.NESO: NesoPlan,
        Source.ELEXON: ElexonPlan,
    }
    return Fetcher(
        plans[kind](base_url),
        run_id=run_id,
        clock=clock,
        transport=transport,
        storage=storage,
        seed=seed,
        incarnation=incarnation,
        settings=settings,
    )
