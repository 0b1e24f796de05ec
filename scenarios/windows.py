"""Beckn windows: limited energy with its own price, carbon and capacity, over a dated stretch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scenarios.model import GeneratedWindows, ScenarioFile, WindowChange
from scenarios.rng import Stream
from schema.regions import REGIONS

BPP_ID = "gridflex-agent.example.com"
PROVIDER_ID = "provider-gridflex-001"


@dataclass(frozen=True, slots=True)
class Window:
    """One window as its provider sees it.

    ``price_pence_per_mwh`` is None where the window has no offer. ``region_id`` is None in a zone
    that no distribution area is known for. Capacity in W. ``published_at`` is when the
    catalogue first shows it.
    """

    item_id: str
    name: str
    zone_code: str
    area: str
    region_id: int | None
    country: str
    longitude: float
    latitude: float
    starts_at: datetime
    ends_at: datetime
    capacity_w: int
    intensity: int
    renewable_pct: int
    price_pence_per_mwh: int | None
    currency: str
    stability: str
    published_at: datetime

    @property
    def offer_id(self) -> str:
        """Id of its offer."""
        return self.item_id.replace("item-", "offer-", 1)

    @property
    def slot_id(self) -> str:
        """Id of its slot, as quotes name it."""
        return f"slot-{self.item_id.removeprefix('item-')}-{self.starts_at:%Y%m%d}-001"


def as_changed(
    window: Window, changes: tuple[WindowChange, ...], now: datetime, start: datetime
) -> Window:
    """Give the window as its provider shows it at ``now``."""
    for change in changes:
        if change.item_id != window.item_id or start + timedelta(hours=change.at_h) > now:
            continue
        if change.capacity_kw is not None:
            window = replace(window, capacity_w=round(change.capacity_kw * 1000))
        if change.intensity_gco2_per_kwh is not None:
            window = replace(window, intensity=change.intensity_gco2_per_kwh)
        if change.price_per_kwh is not None:
            window = replace(window, price_pence_per_mwh=round(change.price_per_kwh * 1e5))
        if change.renewable_pct is not None:
            window = replace(window, renewable_pct=round(change.renewable_pct))
    return window


def zone_code(region_id: int, number: int = 1) -> str:
    """Spell a distribution area as a zone code: ``UK-NORTH-SCOTLAND-1``."""
    name = REGIONS[region_id - 1].short_name.upper()
    return f"UK-{name.replace(' & ', '-').replace(' ', '-')}-{number}"


#: A point in each distribution area (longitude, latitude), for the catalogue's map.
CENTRES: tuple[tuple[float, float], ...] = (
    (-4.2, 57.5), (-3.8, 55.6), (-2.6, 53.9), (-1.7, 54.9), (-1.3, 53.8), (-3.1, 53.2),
    (-3.6, 51.7), (-2.0, 52.5), (-0.9, 52.9), (0.5, 52.3), (-3.6, 50.8), (-1.4, 51.1),
    (-0.1, 51.5), (0.6, 51.2),
)  # fmt: skip


def generate_windows(file: ScenarioFile, how: GeneratedWindows, seed: int) -> tuple[Window, ...]:
    """Draw windows over the replay; each is published six hours ahead or from the start on."""
    stream = Stream(seed, "windows")
    count = how.count
    regions = stream.integers(1, len(REGIONS), count)
    low_h, high_h = (round(2 * hours) for hours in how.hours)
    halves = stream.integers(low_h, high_h, count)
    low_w, high_w = (round(1000 * kw) for kw in how.capacity_kw)
    watts = stream.integers(low_w // 1000, max(low_w, high_w) // 1000, count) * 1000
    begins = stream.integers(2, max(2, file.run_periods - high_h - 1), count)
    prices = stream.integers(1_500, 6_500, count)
    intensities = stream.integers(0, 60, count)
    windows = []
    for i in range(count):
        region = REGIONS[int(regions[i]) - 1]
        starts = file.start + timedelta(minutes=30) * int(begins[i])
        longitude, latitude = CENTRES[region.region_id - 1]
        windows.append(
            Window(
                item_id=f"item-ce-window-{i + 1:03}",
                name=f"{region.short_name} window {i + 1}",
                zone_code=zone_code(region.region_id),
                area=region.short_name,
                region_id=region.region_id,
                country="GB",
                longitude=longitude,
                latitude=latitude,
                starts_at=starts,
                ends_at=starts + timedelta(minutes=30) * int(halves[i]),
                capacity_w=max(int(watts[i]), low_w),
                intensity=int(intensities[i]),
                renewable_pct=100 - int(intensities[i]) // 2,
                price_pence_per_mwh=int(prices[i]),
                currency="GBP",
                stability="stable",
                published_at=max(file.start, starts - timedelta(hours=12)),
            )
        )
    return tuple(sorted(windows, key=lambda w: (w.starts_at, w.item_id)))
