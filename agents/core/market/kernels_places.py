"""Writing places out, half hour by half hour."""

from __future__ import annotations

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.kernels_search import Plan
from agents.core.market.units import Ints


@kernel
def spell_rows(rows: Rows, plan: Plan, b: int, found: Ints, period: Ints, slot: Ints) -> None:
    """Write the half hours and slots of some rows of one start, one row after the other.

    Rows without a place write nothing. ``slot`` is left as it is where the plan knows no slots.
    """
    out = 0
    slots = plan.supply.shape[1] > 0
    for i in found:
        if plan.site[b, i] < 0:
            continue
        at = rows.period_ptr[i]
        supply_at = rows.supply_ptr[i]
        apart = rows.interruptible[i] != 0
        for j in range(rows.duration[i]):
            period[out] = plan.periods[b, at + j] if apart else plan.start[b, i] + j
            if slots:
                slot[out] = plan.supply[b, supply_at + j]
            out += 1


@kernel
def copy_spans(
    order: Ints, first: Ints, ptr: Ints, period: Ints, window: Ints, out: Ints, out_window: Ints
) -> None:
    """Copy spans of ``period`` and ``window`` in another order.

    Args:
        order: [n] which span comes when.
        first: [n] where each span begins in ``period`` and ``window``.
        ptr: [n + 1] where the spans lie in the copies, by their new order.
        period, window: What is copied.
        out, out_window: The copies.
    """
    for new in range(order.shape[0]):
        source = first[order[new]]
        for at in range(ptr[new], ptr[new + 1]):
            out[at] = period[source]
            out_window[at] = window[source]
            source += 1
