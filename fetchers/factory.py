"""The fetcher of a source, configured: one of ours, or one that another package defines."""

from __future__ import annotations

from pathlib import Path

import httpx

from fetchers import registry
from fetchers.beckn.endpoints import BecknParty
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.plan import BecknPlan, CallbackSource
from fetchers.fetcher import Fetcher, FetcherSettings
from schema.clock import Clock
from schema.errors import ConfigurationError
from schema.readings import Source
from storage.ports import StoragePort


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
        source: Its name; one of ``registry.sources()``.
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
        InputError: No such source.
        ConfigurationError: A package's source that cannot be used, or is only parsed.
    """
    definition = registry.definition(source)
    settings = FetcherSettings(
        interval_s=interval_s,
        stale_after=definition.stale_after,
        state_path=state_folder / f"{source}.json" if state_folder is not None else None,
    )
    if source == Source.BECKN:
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
    if definition.plan is None:
        msg = f"source {source!r} has parsers only; its package gives no plan, so it is not polled"
        raise ConfigurationError(msg, source=source)
    return Fetcher(
        definition.plan(base_url),
        run_id=run_id,
        clock=clock,
        transport=transport,
        storage=storage,
        seed=seed,
        incarnation=incarnation,
        settings=settings,
    )
