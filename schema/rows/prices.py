"""Tables of prices: wholesale and flexibility."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schema.readings import Quality
from schema.rows.base import Instant, Lane, Name, Row, Seed, Text
from schema.rows.base import Reading as _Reading

PriceGbp = Annotated[float, Field(ge=-100_000, le=100_000)]


class WholesalePriceRow(_Reading):
    """A price of one half hour in GBP/MWh; negative prices are real.

    ``market`` is the provider of the index (``APXMIDP``, ``N2EXMIDP``) or ``system`` for the
    imbalance price. ``version`` rises with each revision.
    """

    TABLE: ClassVar[str] = "wholesale_prices"
    KEY: ClassVar[tuple[str, ...]] = ("market", "valid_from", "quality")

    market: Name
    price_gbp_per_mwh: PriceGbp
    volume_mwh: Annotated[float, Field(ge=-1_000_000, le=1_000_000)] | None = None


class FlexDirection(StrEnum):
    """Which way a flexibility service moves demand."""

    UP = "up"
    DOWN = "down"


class FlexibilityPriceRow(Row):
    """A published price of a flexibility service; ``unit`` as published, never converted."""

    TABLE: ClassVar[str] = "flexibility_prices"
    KEY: ClassVar[tuple[str, ...]] = ("service", "starts_at", "ends_at", "direction", "quality")
    LANE: ClassVar[Lane] = Lane.FACTS
    INTERVAL: ClassVar[tuple[str, str] | None] = ("starts_at", "ends_at")
    VERSIONED: ClassVar[bool] = True
    STAMPED: ClassVar[bool] = True

    source: Name
    service: Name
    starts_at: Instant
    ends_at: Instant
    direction: FlexDirection
    price: PriceGbp
    unit: Name
    volume_mw: Annotated[float, Field(ge=0, le=200_000)] | None = None
    quality: Quality = Quality.PUBLISHED
    issued_at: Instant | None = None
    reason: Text | None = None
    seed: Seed | None = None
    version: int | None = Field(default=None, ge=0)
