"""Which past settlement days to ask again, because their imbalance prices were settled anew.

A system price appears some minutes after its half hour, is mended on the next day, and is then
calculated again by each settlement run: about 5, 16, 39, 84, 154 and 292 working days after the
settlement day (the runs II, SF, R1, R2, R3 and DF of the Balancing and Settlement Code; newer rules
shorten the later ones). The reply does not name the run. It is the newest ``createdDateTime`` that
counts, and every revision replaces the figure before it. So the days of the last week are asked
again every day, and a day is asked once more shortly after each later run is due.
"""

from __future__ import annotations

from datetime import date, timedelta

#: Days back that are asked again daily: the morning's corrections and the run II.
DAILY = range(2, 10)
#: Days back at which a later run has been published, bank holidays included.
AFTER_RUNS = (28, 61, 125, 226, 426)
#: Days that the program was off and that are made up for.
MOST_MISSED = 7


def days_to_ask_again(today: date, *, since: date, last: date | None) -> tuple[date, ...]:
    """Give the settlement days to ask for, the newest first.

    Args:
        today: The settlement day now.
        since: First day whose prices are wanted at all: nobody needs revisions of others.
        last: When this was last done; the turns missed since are made up for, a week at most.
    """
    missed = 0 if last is None else max(0, min((today - last).days - 1, MOST_MISSED))
    back = set(DAILY)
    back.update(run + late for run in AFTER_RUNS for late in range(missed + 1))
    days = (today - timedelta(days=count) for count in sorted(back))
    return tuple(day for day in days if day >= since)
