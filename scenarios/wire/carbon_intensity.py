"""Replies of the Carbon Intensity API.

Source: its documentation and recorded replies. Instants have minute precision and ``Z``. A range
holds every half hour that ends in ``[from, to]``: that one rule gives the 96 rows of ``fw48h``, its
97th row when ``from`` is on a boundary, and the missing last half hour of a range to 23:59.
``/intensity`` and ``/generation`` answer with the half hour last completed; ``/generation`` is a
bare object. Regions 15 to 18 are aggregates.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

import orjson

from scenarios.publication import Published
from scenarios.scenario import Scenario
from scenarios.synth import reference as ref
from scenarios.wire.areas import all_areas, area_id_of_postcode, percent
from scenarios.wire.reply import Refused, Reply, json_reply
from schema.periods import HALF_HOUR, LONDON, ceil_half_hour, floor_half_hour, local_midnight

_MAX_RANGE = timedelta(days=14)
_INSTANT = r"(\d{4}-\d\d-\d\dT\d\d:\d\dZ)"
_SPANS = {
    "fw24h": (timedelta(0), timedelta(hours=24)),
    "fw48h": (timedelta(0), timedelta(hours=48)),
    "pt24h": (timedelta(hours=-24), timedelta(0)),
}
_COUNTRIES = {"england": 15, "scotland": 16, "wales": 17}
_PLACE = re.compile(r"(?P<range>.*?)/(?P<kind>regionid|postcode)/(?P<which>[A-Za-z0-9]+)")
_LAST_AREA = 18


def index_word(intensity: int, year: int) -> str:
    """Give the label of an intensity; its edges change every year."""
    known = sorted(ref.INDEX_EDGES)
    edges = ref.INDEX_EDGES[min(max(year, known[0]), known[-1])]
    return ref.INDEX_WORDS[sum(intensity >= edge for edge in edges)]


class CarbonIntensityWire:
    """Answers for one scenario; keeps nothing but encoded pieces it could make again."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._axis = scenario.axis
        self._encoded: dict[int, tuple[int, bytes]] = {}

    def answer(self, path: str, now: datetime) -> Reply:
        """Answer a GET for ``path`` (no host, no query) at ``now``."""
        out = Published(self._scenario, now)
        path = path.rstrip("/")
        try:
            if path.startswith("/intensity"):
                return self._intensity(path.removeprefix("/intensity"), out)
            if path.startswith("/generation"):
                return self._generation(path.removeprefix("/generation"), out)
            if path.startswith("/regional"):
                return self._regional(path.removeprefix("/regional"), out)
            raise _bad_path()
        except Refused as refused:
            return refused.reply

    # -- national ---------------------------------------------------------------------------

    def _intensity(self, rest: str, out: Published) -> Reply:
        if rest == "/factors":
            return json_reply({"data": [ref.FACTOR_NAMES]})
        if rest.startswith("/stats/"):
            return self._stats(rest.removeprefix("/stats"), out)
        if not rest:
            indices = [self._axis.index(out.now) - 1]
        elif rest.startswith("/date"):
            indices = _day(self._scenario, rest.removeprefix("/date"), out.now)
        elif match := re.fullmatch(f"/{_INSTANT}", rest):
            indices = [self._axis.index(_instant(match[1]))]
        else:
            indices = self._range(rest)
        rows = [self._national_row(i, out) for i in indices]
        return json_reply({"data": [row for row in rows if row is not None]})

    def _national_row(self, index: int, out: Published) -> dict[str, object] | None:
        forecast = out.national_forecast(index)
        if forecast is None:
            return None
        actual = out.national_actual(index)
        start = self._axis.at(index)
        return {
            "from": _minute(start),
            "to": _minute(start + HALF_HOUR),
            "intensity": {
                "forecast": forecast,
                "actual": actual,
                "index": index_word(forecast if actual is None else actual, start.year),
            },
        }

    def _stats(self, rest: str, out: Published) -> Reply:
        match = re.fullmatch(f"/{_INSTANT}/{_INSTANT}", rest)
        if match is None:
            raise _bad_path()
        start, end = _instant(match[1]), _instant(match[2])
        known = [out.national_actual(i) for i in self._ending_in(start, end)]
        figures = [figure for figure in known if figure is not None]
        if not figures:
            return json_reply({"data": []})
        average = round(sum(figures) / len(figures))
        row = {
            "from": _minute(start),
            "to": _minute(end),
            "intensity": {
                "max": max(figures),
                "average": average,
                "min": min(figures),
                "index": index_word(average, start.year),
            },
        }
        return json_reply({"data": [row]})

    def _generation(self, rest: str, out: Published) -> Reply:
        if not rest:
            return json_reply({"data": self._mix_row(self._axis.index(out.now) - 1)})
        rows = [self._mix_row(i) for i in self._range(rest) if out.mix_out(i)]
        return json_reply({"data": rows})

    def _mix_row(self, index: int) -> dict[str, object]:
        start = self._axis.at(index)
        mix = self._scenario.generation.national_mix[:, index].tolist()
        return {
            "from": _minute(start),
            "to": _minute(start + HALF_HOUR),
            "generationmix": [
                {"fuel": fuel, "perc": percent(part)}
                for fuel, part in zip(ref.FUELS, mix, strict=True)
            ],
        }

    # -- regional ---------------------------------------------------------------------------

    def _regional(self, rest: str, out: Published) -> Reply:
        if not rest:
            piece = self._period(self._axis.index(out.now), out)
            return json_reply({"data": [] if piece is None else [orjson.Fragment(piece)]})
        if rest.removeprefix("/") in _COUNTRIES:
            area = _COUNTRIES[rest.removeprefix("/")]
            return json_reply({"data": [self._area([self._axis.index(out.now)], area, out)]})
        if rest.startswith("/intensity"):
            return self._regional_range(rest.removeprefix("/intensity"), out)
        match = _PLACE.fullmatch(rest)
        if match is None or match["range"]:
            raise _bad_path()
        area, postcode = _place(match)
        body = self._area([self._axis.index(out.now)], area, out, postcode)
        return json_reply({"data": [body]})

    def _regional_range(self, rest: str, out: Published) -> Reply:
        match = _PLACE.fullmatch(rest)
        if match is not None:
            area, postcode = _place(match)
            indices = self._range(match["range"])
            body = self._area(indices, area, out, postcode)
            if postcode is not None:
                # Recorded: the range reply for a postcode leaves the company's name out.
                del body["dnoregion"]
            return json_reply({"data": body})
        pieces = [self._period(i, out) for i in self._range(rest)]
        return json_reply({"data": [orjson.Fragment(p) for p in pieces if p is not None]})

    def _period(self, index: int, out: Published) -> bytes | None:
        """Give one period with its 18 areas, encoded; a revision is encoded once."""
        values = out.regional_forecast(index)
        if values is None:
            return None
        revision = out.regional_revision(index)
        known = self._encoded.get(index)
        if known is not None and known[0] == revision:
            return known[1]
        start = self._axis.at(index)
        areas = all_areas(values, self._scenario.generation.regional_mix[:, :, index])
        regions = [
            {
                "regionid": area.area_id,
                "dnoregion": area.dno_name,
                "shortname": area.short_name,
                "intensity": {
                    "forecast": area.intensity,
                    "index": index_word(area.intensity, start.year),
                },
                "generationmix": area.mix,
            }
            for area in areas
        ]
        piece = orjson.dumps(
            {"from": _minute(start), "to": _minute(start + HALF_HOUR), "regions": regions}
        )
        self._encoded[index] = (revision, piece)
        return piece

    def _area(
        self, indices: list[int], area_id: int, out: Published, postcode: str | None = None
    ) -> dict[str, object]:
        """Give one area with its periods nested."""
        body: dict[str, object] = {}
        periods = []
        for index in indices:
            values = out.regional_forecast(index)
            if values is None:
                continue
            mix = self._scenario.generation.regional_mix[:, :, index]
            area = all_areas(values, mix)[area_id - 1]
            start = self._axis.at(index)
            periods.append(
                {
                    "from": _minute(start),
                    "to": _minute(start + HALF_HOUR),
                    "intensity": {
                        "forecast": area.intensity,
                        "index": index_word(area.intensity, start.year),
                    },
                    "generationmix": area.mix,
                }
            )
            body = {
                "regionid": area.area_id,
                "dnoregion": area.dno_name,
                "shortname": area.short_name,
            }
        if postcode is not None:
            body["postcode"] = postcode
        body["data"] = periods
        return body

    # -- ranges -----------------------------------------------------------------------------

    def _range(self, rest: str) -> list[int]:
        if match := re.fullmatch(f"/{_INSTANT}/(fw24h|fw48h|pt24h)", rest):
            before, after = _SPANS[match[2]]
            at = _instant(match[1])
            return self._ending_in(at + before, at + after)
        if match := re.fullmatch(f"/{_INSTANT}/{_INSTANT}", rest):
            start, end = _instant(match[1]), _instant(match[2])
            if end - start > _MAX_RANGE:
                raise _refuse("The date range must be within 14 days.")
            return self._ending_in(start, end)
        raise _bad_path()

    def _ending_in(self, start: datetime, end: datetime) -> list[int]:
        first = self._axis.index(ceil_half_hour(start)) - 1
        last = self._axis.index(floor_half_hour(end)) - 1
        return list(self._axis.clamp(first, last + 1))


def _day(scenario: Scenario, rest: str, now: datetime) -> list[int]:
    match = re.fullmatch(r"(?:/(\d{4}-\d\d-\d\d)(?:/(\d{1,2}))?)?", rest)
    if match is None:
        raise _bad_path()
    try:
        day = date.fromisoformat(match[1]) if match[1] else now.astimezone(LONDON).date()
    except ValueError:
        raise _refuse("Please enter a valid date in ISO8601 format 'YYYY-MM-DD'.") from None
    first = scenario.axis.index(local_midnight(day))
    count = scenario.axis.index(local_midnight(day + timedelta(days=1))) - first
    if match[2] is None:
        return list(scenario.axis.clamp(first, first + count))
    period = int(match[2])
    if not 1 <= period <= count:
        raise _refuse("Please enter a valid settlement period, between 1 and 48.")
    return [first + period - 1]


def _place(match: re.Match[str]) -> tuple[int, str | None]:
    if match["kind"] == "regionid":
        area = int(match["which"]) if match["which"].isdigit() else 0
        if not 1 <= area <= _LAST_AREA:
            raise _refuse("Please enter a valid region ID, between 1 and 17.")
        return area, None
    postcode = match["which"].upper()
    found = area_id_of_postcode(postcode)
    if found is None:
        raise _refuse("Please enter a valid outward postcode.")
    return found, postcode


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _refuse(
            "Please enter a valid datetime in ISO8601 format 'YYYY-MM-DDThh:mmZ'."
        ) from None


def _minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")


def _bad_path() -> Refused:
    return _refuse("Please enter a valid path. See https://carbon-intensity.github.io/")


def _refuse(message: str) -> Refused:
    error = {"error": {"code": "400 Bad Request", "message": message}}
    return Refused(json_reply(error, status=400))
