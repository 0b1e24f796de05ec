"""The fetcher of a source, configured: one of ours, or one that another package defines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from fetchers import registry
from fetchers.address import is_loopback, safe_address
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.inbox import Inbox
from fetchers.beckn.keys import KeyRing, load_keys
from fetchers.beckn.options import BecknOptions
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
    beckn: BecknOptions | None = None,
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
        beckn: How we take part in the Beckn network; nothing is signed and nobody calls back
            without it.

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
        return _beckn_fetcher(
            base_url,
            beckn or BecknOptions(),
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


def _beckn_fetcher(
    base_url: str,
    options: BecknOptions,
    *,
    run_id: str,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None,
    storage: StoragePort,
    seed: int,
    incarnation: str | None,
    settings: FetcherSettings,
) -> BecknFetcher:
    keys = load_keys(options.keys) if options.keys is not None else KeyRing()
    party = options.party
    if keys.own is not None:
        party = replace(party, bap_id=keys.own.subscriber_id)
    if options.callback_url is not None:
        _require_signers(options.callback_url, keys)
    line = None
    callbacks = transport if isinstance(transport, CallbackSource) else None
    if options.callback_port is not None:
        from fetchers.beckn.line import CallbackLine
        from fetchers.beckn.listener import CallbackListener

        state = settings.state_path
        inbox = Inbox(state.with_name("beckn-inbox.sqlite") if state is not None else None)
        listener = CallbackListener(
            inbox, keys, own_id=party.bap_id, clock=clock, port=options.callback_port
        )
        line, callbacks = CallbackLine(inbox, listener, options.callback_url), inbox
    # A replay's transport tells every change; of providers on a network we cannot know.
    plan = BecknPlan(
        base_url, run_id=run_id, party=party, callbacks=callbacks, tells_all=line is None
    )
    plan.keys = keys
    fetcher = BecknFetcher(
        plan,
        run_id=run_id,
        clock=clock,
        transport=transport,
        storage=storage,
        seed=seed,
        incarnation=incarnation,
        settings=settings,
    )
    fetcher.line = line
    return fetcher


def _require_signers(callback_url: str, keys: KeyRing) -> None:
    """Refuse to be reached from elsewhere by providers of whom nothing can be verified."""
    address = safe_address("the Beckn callbacks", callback_url)
    if keys.verifies or is_loopback(urlsplit(address).hostname or ""):
        return
    msg = (
        f"GRIDPACT_BECKN_CALLBACK_URL is {callback_url!r}, reached from elsewhere, and no "
        "provider's key is known: anybody could speak for one; name their keys in the file of "
        "GRIDPACT_BECKN_KEYS"
    )
    raise ConfigurationError(msg)
