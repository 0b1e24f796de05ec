"""One source's check without a network: what it asks, and how it judges what comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fetchers import registry
from fetchers.definition import SourceDefinition
from fetchers.parsing import EndpointParser
from fetchers.plan import Feed
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from scenarios.loader import load
from scenarios.ops.check_sources import SourceCheck, polled_sources
from scenarios.ops.findings import CheckStatus
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.errors import ConfigurationError
from schema.readings import Parsed, Source
from schema.settings import Settings

RUN = "00000000-0000-0000-0000-00000000000c"
OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def counted(transport: httpx.AsyncBaseTransport) -> tuple[httpx.AsyncBaseTransport, list[str]]:
    """Wrap a transport; gives the paths that were asked, in order."""
    paths: list[str] = []

    async def note(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return await transport.handle_async_request(request)

    return httpx.MockTransport(note), paths


@pytest.mark.parametrize("source", list(Source))
async def test_each_source_is_asked_once_and_judged_right(source: Source) -> None:
    scenario = load("windy-night")
    clock = VirtualClock(scenario.start + timedelta(hours=6))
    transport, paths = counted(ReplayTransport(scenario, source, clock))
    check = SourceCheck(source.value)
    found = await check.run(settings(), RUN, clock, transport)
    assert (found.status, len(paths)) == (OK, 1), found
    # The request itself is logged too, for the iteration to carry.
    assert [record.table for record in check.records].count("api_logs") == 1
    if source is Source.NESO:
        assert paths[0].endswith("resource_show")


@pytest.mark.parametrize(
    ("source", "hours", "said"),
    [
        # What reached 48 h ahead reaches only 8 h ahead 40 h later.
        (Source.CARBON_INTENSITY, 40, "the forecast ends at"),
        (Source.ELEXON, 4, "the newest half hour is old"),
    ],
)
async def test_figures_that_are_right_in_form_and_old_are_worth_a_warning(
    source: Source, hours: int, said: str
) -> None:
    scenario = load("windy-night")
    # The server's clock stands still.
    transport = ReplayTransport(scenario, source, VirtualClock(scenario.start))
    clock = VirtualClock(scenario.start + timedelta(hours=hours))
    found = await SourceCheck(source.value).run(settings(), RUN, clock, transport)
    assert (found.status, said in found.detail) == (WARN, True), found


async def test_a_page_in_place_of_figures_fails_with_what_to_do() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, html="<h1>Login</h1>"))
    clock = VirtualClock(datetime(2026, 5, 1, 10, tzinfo=UTC))
    found = await SourceCheck("elexon").run(settings(), RUN, clock, transport)
    assert found.status is FAIL
    assert "record --once" in found.hint


async def test_the_servers_clock_is_read_from_its_reply() -> None:
    clock = VirtualClock(datetime(2026, 5, 1, 10, tzinfo=UTC))
    date = "Fri, 01 May 2026 10:00:42 GMT"
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, json={"data": []}, headers={"Date": date})
    )
    check = SourceCheck("elexon")
    await check.run(settings(), RUN, clock, transport)
    assert check.skews_s == [42.0]


# -- sources of other packages ---------------------------------------------------------------


PARSERS = {"wind": EndpointParser((), "wind", lambda _body, _context: Parsed())}


class WeatherPlan(BasePlan):
    source = "weather"
    feeds = (Feed("wind", timedelta(hours=1)), Feed("sun", timedelta(hours=1)))
    parsers = PARSERS

    def requests(self, turn: FeedTurn) -> list[Request]:
        return [Request("weather", turn.feed.name, f"{self.base_url}/{turn.feed.name}")]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], SourceDefinition]], None]:
    """Make another package bring the source ``weather``."""

    def bring(load_it: Callable[[], SourceDefinition]) -> None:
        definition = registry.definition
        monkeypatch.setattr(registry, "_outside", lambda: {"weather": object()})
        monkeypatch.setattr(
            registry,
            "definition",
            lambda name: load_it() if name == "weather" else definition(name),
        )

    return bring


async def test_a_source_of_another_package_is_checked_by_its_first_feed(
    outside: Callable[[Callable[[], SourceDefinition]], None],
) -> None:
    outside(lambda: SourceDefinition("weather", "https://w.example", PARSERS, WeatherPlan))
    assert polled_sources()[-1] == "weather"
    transport, paths = counted(httpx.MockTransport(lambda _: httpx.Response(200, json={})))
    clock = VirtualClock(datetime(2026, 5, 1, 10, tzinfo=UTC))
    found = await SourceCheck("weather").run(settings(), RUN, clock, transport)
    assert (found.status, paths) == (OK, ["/wind"])


async def test_a_source_that_is_only_parsed_is_not_asked(
    outside: Callable[[Callable[[], SourceDefinition]], None],
) -> None:
    outside(lambda: SourceDefinition("weather", "https://w.example", {}))
    assert "weather" not in polled_sources()


async def test_a_broken_package_fails_by_itself(
    outside: Callable[[Callable[[], SourceDefinition]], None],
) -> None:
    def broken() -> SourceDefinition:
        raise ConfigurationError("source 'weather' cannot be loaded; fix that package")

    outside(broken)
    assert "weather" in polled_sources()
    clock = VirtualClock(datetime(2026, 5, 1, 10, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match="fix that package"):
        await SourceCheck("weather").run(settings(), RUN, clock)
