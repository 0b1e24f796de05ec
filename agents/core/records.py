"""What the database and the contractors are told about contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.core.ledger import Contract, State
from agents.core.market.units import NANO
from agents.core.run_state import Accounts, RunState
from schema.periods import half_hour_start
from schema.rows import ComputeWorkloadRow, WorkloadScheduleRow
from schema.rows.compute import WorkloadStatus
from schema.workloads import Workload

STATUS = {
    State.WAITING: WorkloadStatus.REGISTERED,
    State.AWARDED: WorkloadStatus.AWARDED,
    State.STARTED: WorkloadStatus.RUNNING,
    State.COMPLETED: WorkloadStatus.COMPLETED,
    State.MISSED: WorkloadStatus.REFUSED,
    State.CANCELLED: WorkloadStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What a workload's agent writes about it to the database but does not decide."""

    key: int
    status: WorkloadStatus
    reason: str | None
    refusal_value_gbp: float
    baseline_first: int
    """Half-hour number."""
    baseline_region_id: int
    baseline_gco2: float | None
    baseline_rescored_gco2: float | None
    baseline_cost_gbp: float | None
    version: int


def status_update(contract: Contract, accounts: Accounts) -> StatusUpdate:
    """Say where a workload stands; each call for one contract has a higher version."""
    contract.told += 1
    return StatusUpdate(
        key=contract.key,
        status=STATUS[contract.state],
        reason=contract.refusal_reason,
        refusal_value_gbp=contract.refusal_nano / NANO,
        baseline_first=contract.release,
        baseline_region_id=contract.home,
        baseline_gco2=accounts.baseline.gco2,
        baseline_rescored_gco2=accounts.baseline_rescored_gco2,
        baseline_cost_gbp=accounts.baseline.cost_gbp,
        version=contract.told,
    )


def schedule_rows(
    contract: Contract,
    state: RunState,
    *,
    version: int,
    rescored_gco2: Sequence[float | None] | None = None,
) -> list[WorkloadScheduleRow]:
    """Give one row a segment of the contract's present revision."""
    accounts = state.accounts[contract.key]
    rows: list[WorkloadScheduleRow] = []
    for index, item in enumerate(accounts.booked):
        segment, account = item.segment, item.account
        site = state.sites[segment.site]
        window = None if segment.window_id is None else state.offers[segment.window_id]
        rows.append(
            WorkloadScheduleRow(
                agent_name=contract.organisation,
                workload_name=contract.name,
                revision=contract.revision,
                conversation_id=accounts.conversation_id,
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
                gco2_rescored=None if rescored_gco2 is None else rescored_gco2[index],
                energy_cost_gbp=account.cost_gbp,
                congestion_gbp=item.congestion_gbp,
                version=version,
            )
        )
    return rows


def workload_row(
    agent: str, workload: Workload, update: StatusUpdate, *, base: int = 0
) -> ComputeWorkloadRow:
    """Give a workload's row as it stands; its private delay cost is left out.

    Args:
        agent: The workload's.
        workload: As its owner described it.
        update: How it stands.
        base: Version that the row had before this run's manager knew of it.
    """
    return ComputeWorkloadRow(
        agent_name=agent,
        workload_name=workload.workload_name,
        power_kw=workload.power_kw * workload.pue,
        duration_min=workload.duration_min,
        earliest_start=workload.earliest_start,
        deadline=workload.deadline,
        allowed_regions=list(workload.allowed_regions),
        home_region_id=workload.home,
        interruptible=workload.interruptible,
        priority=workload.priority,
        refusal_value_gbp=update.refusal_value_gbp,
        baseline_starts_at=half_hour_start(update.baseline_first),
        baseline_region_id=update.baseline_region_id,
        baseline_gco2=update.baseline_gco2,
        baseline_rescored_gco2=update.baseline_rescored_gco2,
        baseline_cost_gbp=update.baseline_cost_gbp,
        status=update.status,
        status_reason=update.reason,
        version=base + update.version,
    )
