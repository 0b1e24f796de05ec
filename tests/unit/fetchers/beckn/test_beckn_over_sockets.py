"""An asynchronous, signing provider over real sockets: it calls our own address back.

The provider is a scenario's, served on this machine; it and we share one running clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from callback_kit import BPP_PRIVATE, BPP_PUBLIC, KEY_ID, OWN_PRIVATE, signed
from provider_kit import RUN, Store

from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.options import BecknOptions
from fetchers.factory import make_fetcher
from scenarios.loader import load
from scenarios.model import AckShape
from scenarios.scenario import Scenario
from scenarios.serve.beckn import BecknMode
from scenarios.serve.clock import PacedClock
from scenarios.serve.server import UpstreamServer
from scenarios.windows import BPP_ID
from schema.orders import OrderOutcome, WindowOrder, WindowTerms
from schema.periods import HALF_HOUR, ceil_half_hour
from schema.readings import Source

NAME = "beckn-window-rush"
Reach = Callable[..., BecknFetcher]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load(NAME)


def keys(folder: Path) -> Path:
    path = folder / "keys.toml"
    path.write_text(
        f'[own]\nsubscriber_id = "bap.example"\nkey_id = "k1"\nprivate_key = "{OWN_PRIVATE}"\n'
        f'[[peers]]\nsubscriber_id = "{BPP_ID}"\nkey_id = "{KEY_ID}"\npublic_key = "{BPP_PUBLIC}"\n'
    )
    path.chmod(0o600)
    return path


@pytest.fixture
async def reach(scenario: Scenario, tmp_path: Path) -> AsyncIterator[Reach]:
    """Serve the scenario in a mode and make a fetcher that reaches it."""
    made: list[tuple[BecknFetcher, UpstreamServer]] = []

    def make(store: Store, *, signing: bool = True, faults: str = "", **mode: Any) -> BecknFetcher:
        clock = PacedClock(scenario.start)

        def sign(body: bytes, created: Any) -> str:
            return signed(body, private_key=BPP_PRIVATE, subscriber=BPP_ID, created=created)

        how = BecknMode(asynchronous=True, sign=sign if signing else None, **mode)
        server = UpstreamServer(
            scenario, clock, sources=(Source.BECKN,), faults=faults, beckn=how
        ).start()
        fetcher = make_fetcher(
            "beckn",
            base_url=server.urls[Source.BECKN],
            run_id=RUN,
            clock=clock,
            storage=store,
            seed=1,
            incarnation="i1",
            state_folder=tmp_path / "state",
            beckn=BecknOptions(callback_port=0, keys=keys(tmp_path)),
        )
        assert isinstance(fetcher, BecknFetcher)
        # Short, so that a refusal does not take half a minute.
        fetcher.plan.party = replace(fetcher.plan.party, ttl_s=3)
        made.append((fetcher, server))
        return fetcher

    yield make
    for fetcher, server in made:
        await fetcher.close()
        await asyncio.to_thread(server.stop)


def order_for(terms: WindowTerms, now: Any) -> WindowOrder:
    return WindowOrder(
        bpp_id=terms.bpp_id,
        item_id=terms.item_id,
        starts_at=terms.starts_at,
        ends_at=terms.ends_at,
        organisation="acme",
        load_kw=(terms.capacity_kw / 2,),
        price_per_kwh=terms.price_per_kwh,
        capacity_kw=terms.capacity_kw,
        decided_at=now,
        currency=terms.currency,
    )


def first_window(fetcher: BecknFetcher) -> WindowTerms:
    """A window that lasts at least one half hour of the market's."""
    found = [
        terms
        for terms in fetcher.plan.book.terms.values()
        if ceil_half_hour(terms.starts_at) + HALF_HOUR <= terms.ends_at and terms.currency == "GBP"
    ]
    return min(found, key=lambda terms: (terms.starts_at, terms.item_id))


@pytest.mark.parametrize("camel", [False, True], ids=["snake", "camel"])
@pytest.mark.parametrize("shape", list(AckShape))
async def test_a_window_is_booked_by_signed_callbacks(
    reach: Reach, scenario: Scenario, shape: AckShape, camel: bool
) -> None:
    store = Store()
    fetcher = reach(store, ack=shape, camel=camel)
    report = await fetcher.poll(scenario.start)
    assert report.rows_by_table["compute_windows"] > 0
    result = await fetcher.order(order_for(first_window(fetcher), fetcher.clock.now()))
    assert (result.outcome, result.reason) == (OrderOutcome.BOOKED, "")
    received: Any = fetcher.status()["callbacks"]
    assert received["received"] == {"new": 4}


async def test_duplicates_change_nothing(reach: Reach, scenario: Scenario) -> None:
    store = Store()
    fetcher = reach(store, faults="beckn:duplicate-callback")
    await fetcher.poll(scenario.start)
    result = await fetcher.order(order_for(first_window(fetcher), fetcher.clock.now()))
    assert result.outcome is OrderOutcome.BOOKED
    await asyncio.sleep(0.3)
    received: Any = fetcher.status()["callbacks"]
    assert received["received"] == {"new": 4, "repeated": 4}
    report = await fetcher.poll(fetcher.clock.now())
    assert (report.updates, report.conflicts, report.rejected) == ((), 0, 0)


async def test_an_unsigned_provider_is_not_believed(reach: Reach, scenario: Scenario) -> None:
    store = Store()
    fetcher = reach(store, signing=False)
    report = await fetcher.poll(scenario.start)
    assert "compute_windows" not in report.rows_by_table
    received: Any = fetcher.status()["callbacks"]
    assert received["received"] == {"AUT_SIGNATURE_MISSING": 1}
