"""A deferrable workload as its owner describes it, checked whole.

Everything that can make a workload impossible by itself is refused here, with the field, the
value and what is allowed. What can only be seen against sites and capacity (power above any
site's capacity) is the market's to refuse, with that reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schema.periods import HALF_HOUR, ceil_half_hour, floor_half_hour
from schema.rows.base import Instant, Name, RegionId


class Workload(BaseModel):
    """Power that must be drawn for a duration, somewhere, before a deadline.

    ``deadline`` is the latest finish. The delay cost is private: it stays with the owner's
    compute agent and is in no message and no log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    workload_name: Name
    power_kw: Annotated[float, Field(gt=0, le=1e6)]
    duration_min: Annotated[int, Field(gt=0)]
    earliest_start: Instant
    deadline: Instant
    allowed_regions: tuple[RegionId, ...] = Field(min_length=1)
    home_region_id: RegionId | None = None
    interruptible: bool = False
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    delay_cost_gbp_per_kwh_h: Annotated[float, Field(ge=0, le=1000)] = 0.0
    refusal_value_gbp: Annotated[float, Field(ge=0, le=1e12)] | None = None
    pue: Annotated[float, Field(ge=1, le=5)] = 1.0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.deadline <= self.earliest_start:
            msg = (
                f"deadline {self.deadline.isoformat()} is not after earliest_start "
                f"{self.earliest_start.isoformat()}; a workload needs time between them"
            )
            raise ValueError(msg)
        room = floor_half_hour(self.deadline) - ceil_half_hour(self.earliest_start)
        need = self.periods * HALF_HOUR
        if need > room:
            msg = (
                f"duration_min {self.duration_min} needs {self.periods} whole half hours, but "
                f"between earliest_start and deadline lie {max(room, timedelta(0)) // HALF_HOUR}"
            )
            raise ValueError(msg)
        if len(set(self.allowed_regions)) != len(self.allowed_regions):
            msg = f"allowed_regions {list(self.allowed_regions)} names a region twice"
            raise ValueError(msg)
        if self.home_region_id is not None and self.home_region_id not in self.allowed_regions:
            msg = (
                f"home_region_id {self.home_region_id} is not among allowed_regions "
                f"{list(self.allowed_regions)}"
            )
            raise ValueError(msg)
        return self

    @property
    def periods(self) -> int:
        """Half hours it runs, rounded up."""
        return -(-self.duration_min // 30)

    @property
    def home(self) -> int:
        """Region of the baseline: home, or else the first allowed."""
        return self.home_region_id if self.home_region_id is not None else self.allowed_regions[0]
