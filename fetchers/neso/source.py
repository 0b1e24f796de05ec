"""NESO's data portal as one value."""

from __future__ import annotations

from fetchers.definition import SourceDefinition
from fetchers.neso.endpoints import BASE_URL
from fetchers.neso.fetcher import NesoPlan
from fetchers.neso.parse import ENDPOINTS
from schema.readings import Source

SOURCE = SourceDefinition(Source.NESO.value, BASE_URL, ENDPOINTS, NesoPlan)
