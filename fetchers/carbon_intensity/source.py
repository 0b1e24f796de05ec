"""The Carbon Intensity API as one value."""

from __future__ import annotations

from fetchers.carbon_intensity.endpoints import BASE_URL
from fetchers.carbon_intensity.fetcher import CarbonIntensityPlan
from fetchers.carbon_intensity.parse import ENDPOINTS
from fetchers.definition import SourceDefinition
from schema.readings import Source

SOURCE = SourceDefinition(Source.CARBON_INTENSITY.value, BASE_URL, ENDPOINTS, CarbonIntensityPlan)
