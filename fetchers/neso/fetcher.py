"""NESO's plan: ask the catalogue what changed, and read only those files.

The portal asks for at most one catalogue request a second and two datastore requests a minute and
enforces it by blocking the address, so both limits hold across restarts. The catalogue is asked
once an hour about each file; a changed file that had to wait for the limit is read at a later poll
without asking again. A resource id that is not found any more (flexibility files roll over each
April) is looked up by its exact name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fetchers.bucket import Rate
from fetchers.neso.catalogue import find_resource, parse_package_show, parse_resource_show
from fetchers.neso.endpoints import (
    DATA_FILES,
    DEMAND_FORECAST_1D,
    DEMAND_FORECAST_2D,
    DEMAND_FORECAST_7D,
    DEMAND_FORECAST_14D,
    DEMAND_UPDATE,
    DFS_SUMMARY,
    DFS_UTILISATION,
    EAC_RESULTS,
    EMBEDDED_FORECAST,
    PACKAGE_SHOW,
    RESOURCE_SHOW,
    DataFile,
    build_datastore_search,
    build_package_show,
    build_resource_show,
)
from fetchers.neso.parse import ENDPOINTS
from fetchers.parsing import ParseContext
from fetchers.plan import MIB, Feed
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn, Reading
from schema.errors import GridpactError, NotYetPublished
from schema.periods import format_instant, parse_instant
from schema.readings import Parsed, Source

CATALOGUE, DATASTORE = "catalogue", "datastore"
#: The published limits with a little room, for clocks and networks are not exact.
RATES: Mapping[str, Rate] = {CATALOGUE: Rate(1.05), DATASTORE: Rate(31.0)}
NOT_FOUND = 404

FILES: tuple[DataFile, ...] = (
    DEMAND_FORECAST_1D,
    DEMAND_UPDATE,
    DEMAND_FORECAST_2D,
    DEMAND_FORECAST_14D,
    EMBEDDED_FORECAST,
    DEMAND_FORECAST_7D,
    EAC_RESULTS,
    DFS_SUMMARY,
    DFS_UTILISATION,
)


class NesoPlan(BasePlan):
    """Demand forecasts and outturn, embedded generation, flexibility prices."""

    source = Source.NESO
    feeds = tuple(
        Feed(file.endpoint, timedelta(hours=1), max_bytes=16 * MIB, deadline_s=30.0)
        for file in FILES
    )
    rates = RATES
    parsers = ENDPOINTS

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self._ids: dict[str, str] = {}
        self._issued: dict[str, datetime] = {}
        #: When the catalogue was last asked about a file, by feed.
        self._checked: dict[str, datetime] = {}

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Ask the catalogue whether the file changed, or for a file that is known to have."""
        feed = turn.feed
        checked, issued = self._checked.get(feed.name), self._issued.get(feed.name)
        asked = checked is not None and feed.slot(checked) == feed.slot(turn.planned)
        if asked and issued is not None and format_instant(issued) != turn.state.seen:
            return [self._data_request(feed)]
        return [build_resource_show(self._resource_id(feed), self.base_url)]

    def bucket(self, feed: Feed, request: Request) -> str | None:
        """Catalogue and datastore have limits of their own."""
        del feed
        return CATALOGUE if request.endpoint in {RESOURCE_SHOW, PACKAGE_SHOW} else DATASTORE

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read a catalogue entry, which may lead to the file, or the file itself."""
        feed, state = turn.feed, turn.state
        file = DATA_FILES[feed.name]
        if request.endpoint == PACKAGE_SHOW:
            resources, rejected = parse_package_show(reply.body)
            self._ids[feed.name] = find_resource(resources, file.name).id
            again = build_resource_show(self._ids[feed.name], self.base_url)
            return Reading(Parsed(rejected=rejected), then=(again,))
        if request.endpoint == RESOURCE_SHOW:
            modified = parse_resource_show(reply.body).last_modified
            marker = format_instant(modified) if modified is not None else None
            if marker is not None and marker == state.seen:
                return Reading(seen=marker)
            if modified is not None:
                self._issued[feed.name] = modified
                self._checked[feed.name] = turn.planned
            return Reading(then=(self._data_request(feed),))
        # The change is noted only now that the file was read: its request may have failed.
        issued = self._issued.get(feed.name)
        marker = format_instant(issued) if issued is not None else None
        try:
            parsed = self.parsers[request.endpoint].parse(
                reply.body, ParseContext(now=context.now, issued_at=issued)
            )
        except NotYetPublished:
            # An empty file (flexibility has months without an event) is read, and read once.
            return Reading(seen=marker)
        return Reading(parsed, seen=marker)

    def recover(
        self, turn: FeedTurn, request: Request, error: GridpactError
    ) -> Sequence[Request] | None:
        """Look a vanished resource up by its package."""
        feed = turn.feed
        if request.endpoint == PACKAGE_SHOW or error.details.get("status") != NOT_FOUND:
            return None
        if feed.name in self._ids:
            # Found by name a moment ago or in an earlier poll, and gone again: look only once.
            del self._ids[feed.name]
            return None
        return [build_package_show(DATA_FILES[feed.name].package, self.base_url)]

    def export(self) -> dict[str, Any]:
        """Remember ids that rolled over, and which files wait to be read."""
        return {
            "ids": dict(self._ids),
            "issued": {name: format_instant(at) for name, at in self._issued.items()},
            "checked": {name: format_instant(at) for name, at in self._checked.items()},
        }

    def restore(self, extra: Mapping[str, Any]) -> None:
        """Take them back."""
        self._ids = dict(extra.get("ids", {}))
        self._issued, self._checked = (
            {name: parse_instant(at) for name, at in extra.get(part, {}).items()}
            for part in ("issued", "checked")
        )

    def _data_request(self, feed: Feed) -> Request:
        file = DATA_FILES[feed.name]
        return build_datastore_search(
            file, resource_id=self._resource_id(feed), base_url=self.base_url
        )

    def _resource_id(self, feed: Feed) -> str:
        return self._ids.get(feed.name, DATA_FILES[feed.name].resource_id)
