"""Rows and tellings made of contracts: what the database and the contractors are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.core.accounting import Account, Figures, account_segment
from agents.core.ledger import Contract, Segment, State
from agents.core.market.units import NANO
from agents.core.view import Site, WindowOffer
from schema.periods import half_hour_start
from schema.rows import WorkloadScheduleRow
from schema.rows.compute import WorkloadStatus

STATUS = {
    State.WAITING: WorkloadStatus.REGISTERED,
    State.AWARDED: WorkloadStatus.AWARDED,
    State.STARTED: WorkloadStatus.RUNNING,
    State.COMPLETED: WorkloadStatus.COMPLETED,
    State.MISSED: WorkloadStatus.REFUSED,
}


@dataclass(slots=True)
class Accounts:
    """A workload's baseline, and its schedule where it has one, on the forecasts of the time."""

    baseline: Account
    schedule: Account | None = None
    baseline_rescored: Account | None = None
    schedule_rescored: Account | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Everything about a workload that its agent writes to the database but does not decide."""

    key: int
    status: WorkloadStatus
    reason: str | None
    refusal_value_gbp: float
    baseline_starts: int
    """Half-hour number."""
    baseline_region_id: int
    baseline_gco2: float | None
    baseline_rescored_gco2: float | None
    baseline_cost_gbp: float | None
    version: int


def status_update(contract: Contract, accounts: Accounts) -> StatusUpdate:
    """Say where a workload stands; each call for one contract has a higher version."""
    contract.told += 1
    rescored = accounts.baseline_rescored
    return StatusUpdate(
        key=contract.key,
        status=STATUS[contract.state],
        reason=contract.refusal_reason,
        refusal_value_gbp=contract.refusal_nano / NANO,
        baseline_starts=contract.release,
        baseline_region_id=contract.home,
        baseline_gco2=accounts.baseline.gco2,
        baseline_rescored_gco2=None if rescored is None else rescored.gco2,
        baseline_cost_gbp=accounts.baseline.cost_gbp,
        version=contract.told,
    )


@dataclass(frozen=True, slots=True)
class Booked:
    """One segment of an award with what it costs at the posted prices."""

    segment: Segment
    account: Account
    congestion_gbp: float


def schedule_rows(
    contract: Contract,
    booked: Sequence[Booked],
    sites: Sequence[Site],
    offers: Mapping[str, WindowOffer],
    *,
    conversation_id: str,
    version: int,
    rescored: Sequence[Account] | None = None,
) -> list[WorkloadScheduleRow]:
    """Give one row a segment of the contract's present revision."""
    rows: list[WorkloadScheduleRow] = []
    for index, item in enumerate(booked):
        segment, account = item.segment, item.account
        site = sites[segment.site]
        window = None if segment.window_id is None else offers[segment.window_id]
        rows.append(
            WorkloadScheduleRow(
                agent_name=contract.organisation,
                workload_name=contract.name,
                revision=contract.revision,
                conversation_id=conversation_id,
                starts_at=half_hour_start(segment.first),
                ends_at=half_hour_start(segment.end),
                region_id=site.region_id,
                asset_agent_name=site.organisation,
                asset_name=site.asset,
                window_bpp_id=None if window is None else window.bpp_id,
                window_item_id=None if window is None else window.item_id,
                window_starts_at=None if window is None else window.starts_at,
                power_kw=contract.power_w / 1000,
                energy_kwh=account.energy_kwh,
                intensity_forecast_gco2_per_kwh=account.intensity_gco2_per_kwh,
                gco2_forecast=account.gco2,
                gco2_rescored=None if rescored is None else rescored[index].gco2,
                energy_cost_gbp=account.cost_gbp,
                congestion_gbp=item.congestion_gbp,
                version=version,
            )
        )
    return rows


def rescore(
    contract: Contract, booked: Sequence[Booked], sites: Sequence[Site], figures: Figures
) -> list[Account]:
    """Value the segments of an award again on figures published later."""
    return [
        account_segment(
            item.segment, contract.power_w, sites[item.segment.site].region_id, figures
        )
        for item in booked
    ]
