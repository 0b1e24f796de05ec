"""Replies of Elexon Insights.

Source: its OpenAPI file and recorded replies. Date-times have seconds and ``Z``; ``from`` and
``to`` are inclusive; dataset routes answer ``{"data": …}``, their ``/stream`` form a bare array
with the newest row first, the other routes ``{"metadata": …, "data": …}``. Nothing found is an
empty array with status 200.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from scenarios.publication import Published
from scenarios.scenario import Scenario
from scenarios.wire.elexon_demand import (
    day_ahead_rows,
    demand_forecast_rows,
    indo_rows,
    outturn_rows,
)
from scenarios.wire.elexon_fuels import fuelhh_rows, fuelinst_rows, snapshot_rows
from scenarios.wire.elexon_rows import Row, market_index_rows, system_price_rows
from scenarios.wire.reply import Refused, Reply, json_reply
from schema.periods import SettlementPeriod, local_midnight, periods_in_day

Query = Mapping[str, Sequence[str]]
_WEEK = timedelta(days=7)
_DAY = timedelta(days=1)
_TRACE = "00-00000000000000000000000000000000-0000000000000000-00"


class ElexonWire:
    """Answers for one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def answer(self, path: str, query: Query, now: datetime) -> Reply:
        """Answer a GET.

        Args:
            path: Behind the API's base, without the query.
            query: Every parameter with its values, in order.
            now: What is published by then is told.
        """
        out = Published(self._scenario, now)
        try:
            return self._route(path.rstrip("/"), query, out)
        except Refused as refused:
            return refused.reply

    def _route(self, path: str, query: Query, out: Published) -> Reply:
        prices = re.fullmatch(r"/balancing/settlement/system-prices/([^/]+)(?:/(\d+))?", path)
        if prices is not None:
            rows = self._of_day(prices[1], prices[2], out, system_price_rows)
            return _opinionated("DISEBSP", rows)
        if path == "/balancing/pricing/market-index":
            return _opinionated("MID", self._market_index(query, out))
        if path in {"/demand/outturn", "/demand/outturn/stream"}:
            rows = outturn_rows(out, self._settlement_days(query))
            if path.endswith("/stream"):
                return json_reply(rows[::-1])
            return _opinionated("INDO", rows, "ITSDO")
        if path == "/forecast/demand/day-ahead/latest":
            zonal = _one(query, "boundary", "") == "zonal"
            return _opinionated("NDF", day_ahead_rows(out, zonal=zonal), "TSDF")
        if path == "/generation/outturn/current":
            return json_reply(snapshot_rows(out))
        dataset = re.fullmatch(r"/datasets/([A-Z]+)(/stream)?", path)
        if dataset is None:
            return _problem(404, "Not Found", {})
        code, stream = dataset[1], dataset[2] is not None
        rows = [{"dataset": code, **row} for row in self._dataset(code, query, out)]
        return json_reply(rows[::-1]) if stream else json_reply({"data": rows})

    def _dataset(self, code: str, query: Query, out: Published) -> list[Row]:
        match code:
            case "MID":
                return self._market_index(query, out)
            case "FUELHH" | "FUELINST":
                rows = self._fuels(code, query, out)
                wanted = set(query.get("fuelType", ()))
                return [row for row in rows if not wanted or row["fuelType"] in wanted]
            case "INDO" | "ITSDO":
                return _published_between(indo_rows(out, code), query, _WEEK, latest=True)
            case "NDF" | "TSDF":
                rows = demand_forecast_rows(out, code, zonal=_one(query, "boundary", "") != "")
                return _published_between(rows, query, _DAY, latest=True)
            case _:
                raise Refused(_problem(404, "Not Found", {}))

    def _market_index(self, query: Query, out: Published) -> list[Row]:
        start, end = _instant(query, "from"), _instant(query, "to")
        first = _one(query, "settlementPeriodFrom", "")
        last = _one(query, "settlementPeriodTo", "")
        if first:
            # Recorded behaviour: then ``from`` is read as a settlement date.
            start = _period_start(start.date(), int(first))
        if last:
            end = _period_start(end.date(), int(last))
        if end - start > _WEEK:
            raise _too_long(_WEEK)
        providers = list(query.get("dataProviders", ())) or ["APXMIDP", "N2EXMIDP"]
        return market_index_rows(out, start, end, providers)

    def _fuels(self, code: str, query: Query, out: Published) -> list[Row]:
        by_publish = "publishDateTimeFrom" in query
        if by_publish == ("settlementDateFrom" in query):
            raise _invalid("", "Filter by publish time or by settlement date, one of them")
        if code == "FUELHH":
            if not by_publish:
                return fuelhh_rows(out, self._settlement_days(query))
            start, end = _publish_range(query)
            days = _days(start.date() - _DAY, end.date() + _DAY)
            return _published_between(fuelhh_rows(out, days), query, _WEEK)
        if by_publish:
            start, end = _publish_range(query)
        else:
            days = self._settlement_days(query)
            start, end = local_midnight(days[0]), local_midnight(days[-1] + _DAY)
        if end - start > _DAY + timedelta(hours=1):
            raise _too_long(_DAY)
        return fuelinst_rows(out, start, end)

    def _of_day(
        self,
        day_text: str,
        period_text: str | None,
        out: Published,
        rows: Callable[[Published, range], list[Row]],
    ) -> list[Row]:
        day = _date(day_text, "settlementDate")
        first = self._scenario.axis.index(local_midnight(day))
        count = periods_in_day(day)
        if period_text is None:
            return rows(out, self._scenario.axis.clamp(first, first + count))
        number = int(period_text)
        if not 1 <= number <= 50:  # noqa: PLR2004
            raise _invalid("settlementPeriod", "The settlement period must be between 1 and 50")
        index = first + number - 1
        return rows(out, self._scenario.axis.clamp(index, index + 1)) if number <= count else []

    def _settlement_days(self, query: Query) -> list[date]:
        first = _date(_one(query, "settlementDateFrom"), "settlementDateFrom")
        last = _date(_one(query, "settlementDateTo"), "settlementDateTo")
        if not 0 <= (last - first).days < _WEEK.days:
            raise _too_long(_WEEK)
        return _days(first, last)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _period_start(day: date, number: int) -> datetime:
    try:
        return SettlementPeriod(day, number).start
    except ValueError as exc:
        raise _invalid("settlementPeriodFrom", str(exc)) from exc


def _published_between(
    rows: list[Row], query: Query, limit: timedelta, *, latest: bool = False
) -> list[Row]:
    if "publishDateTimeFrom" not in query:
        if not latest or not rows:
            return []
        newest = max(str(row["publishTime"]) for row in rows)
        return [row for row in rows if row["publishTime"] == newest]
    start, end = _publish_range(query)
    if end - start > limit:
        raise _too_long(limit)
    low, high = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (start, end))
    return [row for row in rows if low <= str(row["publishTime"]) <= high]


def _opinionated(first: str, rows: list[Row], *others: str) -> Reply:
    return json_reply({"metadata": {"datasets": [first, *others]}, "data": rows})


def _one(query: Query, name: str, default: str | None = None) -> str:
    values = query.get(name, ())
    if values:
        return values[0]
    if default is None:
        raise _invalid(name, f"The {name} field is required.")
    return default


def _instant(query: Query, name: str) -> datetime:
    text = _one(query, name)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(name, f"The value '{text}' is not valid.") from None
    if at.tzinfo is None:
        at = datetime.fromisoformat(f"{text}+00:00")
    return at


def _date(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _invalid(name, f"The value '{text}' is not valid.") from None


def _publish_range(query: Query) -> tuple[datetime, datetime]:
    return _instant(query, "publishDateTimeFrom"), _instant(query, "publishDateTimeTo")


def _too_long(limit: timedelta) -> Refused:
    message = f"The date range between From and To inclusive must not exceed {limit.days} days"
    return _invalid("", message)


def _invalid(field: str, message: str) -> Refused:
    return Refused(_problem(400, "One or more validation errors occurred.", {field: [message]}))


def _problem(status: int, title: str, errors: Mapping[str, list[str]]) -> Reply:
    body: dict[str, object] = {
        "type": f"https://tools.ietf.org/html/rfc9110#section-15.5.{1 if status == 400 else 5}",  # noqa: PLR2004
        "title": title,
        "status": status,
    }
    if errors:
        body["errors"] = dict(errors)
    body["traceId"] = _TRACE
    reply = json_reply(body, status=status)
    return Reply(reply.status, reply.body, "application/problem+json; charset=utf-8")
