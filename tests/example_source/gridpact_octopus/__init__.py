"""Octopus Agile as a source of gridpact."""

from __future__ import annotations

from fetchers.definition import SourceDefinition
from gridpact_octopus.parse import ENDPOINTS, NAME
from gridpact_octopus.plan import BASE_URL, OctopusPlan

SOURCE = SourceDefinition(NAME, BASE_URL, ENDPOINTS, OctopusPlan)
