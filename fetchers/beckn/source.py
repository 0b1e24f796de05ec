"""The Beckn network as one value; its plan needs the run, so ``factory`` makes it."""

from __future__ import annotations

from fetchers.beckn.endpoints import BASE_URL
from fetchers.beckn.parse import ENDPOINTS
from fetchers.definition import SourceDefinition
from schema.readings import Source

SOURCE = SourceDefinition(Source.BECKN.value, BASE_URL, ENDPOINTS)
