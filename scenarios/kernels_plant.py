"""The planted schedule's inner loop, compiled: a hundred thousand jobs in a tenth of a second."""

from __future__ import annotations

from agents.core.market.jit import kernel
from scenarios.rng import Floats, Ints


@kernel
def plant(
    order: Ints,
    power: Ints,
    periods: Ints,
    first: Ints,
    last: Ints,
    kind: Ints,
    kind_ptr: Ints,
    kind_site: Ints,
    kind_edge: Floats,
    site_pick: Floats,
    time_pick: Floats,
    scale: Floats,
    load: Ints,
    site: Ints,
    start: Ints,
) -> None:
    """Put each workload where it is least busy among a few draws.

    Args:
        order: Who is placed when.
        power, periods: [n] W and half hours.
        first, last: [n] half hours between which it runs, the last excluded.
        kind: [n] which set of sites each may use.
        kind_ptr: [K + 1] place of each set in the next two.
        kind_site: Sites of each set.
        kind_edge: Upper edge of each site's share of [0, 1).
        site_pick, time_pick: [n, draws] in [0, 1).
        scale: [S] how much work a site is meant to get.
        load: [S, T] W; changed.
        site, start: [n] out.
    """
    for i in order:
        low = kind_ptr[kind[i]]
        high = kind_ptr[kind[i] + 1]
        length = periods[i]
        choices = last[i] - length - first[i] + 1
        least = 0.0
        for draw in range(site_pick.shape[1]):
            at = low
            while at < high - 1 and kind_edge[at] <= site_pick[i, draw]:
                at += 1
            where = kind_site[at]
            when = first[i] + int(time_pick[i, draw] * choices)
            peak = load[where, when]
            for t in range(when, when + length):
                peak = max(peak, load[where, t])
            busy = float(peak + power[i]) / scale[where]
            if draw == 0 or busy < least:
                least = busy
                site[i] = where
                start[i] = when
        for t in range(start[i], start[i] + length):
            load[site[i], t] += power[i]
