"""Elexon Insights as one value."""

from __future__ import annotations

from datetime import timedelta

from fetchers.definition import SourceDefinition
from fetchers.elexon.endpoints import BASE_URL
from fetchers.elexon.fetcher import ElexonPlan
from fetchers.elexon.parse import ENDPOINTS
from schema.readings import Source

#: Prices appear with some delay anyway.
STALE_AFTER = timedelta(hours=3)
SOURCE = SourceDefinition(Source.ELEXON.value, BASE_URL, ENDPOINTS, ElexonPlan, STALE_AFTER)
