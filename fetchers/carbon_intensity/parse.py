"""Replies of the Carbon Intensity API into rows.

The API gives no issue time. A national row holds forecast and outturn; a regional row a forecast
alone. Labels are stored as received: their band edges change every year.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fetchers.carbon_intensity.wire import (
    FUELS,
    Period,
    area_of,
    load_data,
    mix_items,
    read_period,
    regional_items,
)
from fetchers.parsing import EndpointParser, ParseContext, RowSink
from fetchers.wire import (
    Json,
    Unusable,
    describe,
    invalid,
    number,
    obj,
    optional_text,
    required_number,
)
from schema.readings import Parsed, Source
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    GenerationMixNationalRow,
    GenerationMixRegionalRow,
)

_NAME = Source.CARBON_INTENSITY.value
SKIP_AGGREGATE = "aggregate areas"
SKIP_FORECAST_MIX = "forecast mixes"
SKIP_ENDED = "half hours already over in a forecast"


def parse_intensity(body: bytes, context: ParseContext) -> Parsed:
    """Read national intensity: current, by day, past or range."""
    del context
    return _national(body, None)


def parse_intensity_forecast(body: bytes, context: ParseContext) -> Parsed:
    """Read a national forecast from an instant on.

    Asked exactly on a boundary, the reply repeats the half hour before without its outturn. It is
    left out, so that it cannot blank the outturn that the past reply of the same poll carries.
    """
    return _national(body, context.now)


def _national(body: bytes, skip_ended_by: datetime | None) -> Parsed:
    data = load_data(body)
    sink = RowSink()
    items = data if isinstance(data, list) else [data]
    if not any(isinstance(item, dict) and "intensity" in item for item in items):
        raise invalid(_NAME, "no period with an intensity; is it a reply of /intensity?", body)
    for index, item in enumerate(items):
        where = f"data[{index}]" if isinstance(data, list) else "data"
        try:
            period = read_period(item, where)
            if skip_ended_by is not None and period.valid_to <= skip_ended_by:
                sink.skip(SKIP_ENDED)
                continue
            _add_national(sink, period)
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink.done()


def _add_national(sink: RowSink, period: Period) -> None:
    figures = obj(period.body.get("intensity"), "intensity")
    # Either may be null; "forecast" is missing altogether in some months of the history.
    forecast = number(figures.get("forecast"), "intensity.forecast")
    actual = number(figures.get("actual"), "intensity.actual")
    if forecast is None and actual is None:
        raise Unusable("intensity.forecast and intensity.actual are both empty; one is needed")
    sink.add(
        period.where,
        CarbonIntensityNationalRow,
        source=_NAME,
        valid_from=period.valid_from,
        valid_to=period.valid_to,
        forecast_gco2_per_kwh=forecast,
        actual_gco2_per_kwh=actual,
        intensity_index=optional_text(figures.get("index"), "intensity.index"),
    )


def parse_generation(body: bytes, context: ParseContext) -> Parsed:
    """Read the national mix: one bare object, or a list of them."""
    data = load_data(body)
    sink = RowSink()
    items = data if isinstance(data, list) else [data]
    if not any(isinstance(item, dict) and "generationmix" in item for item in items):
        raise invalid(_NAME, "no period with a mix; is it a reply of /generation?", body)
    for index, item in enumerate(items):
        where = f"data[{index}]" if isinstance(data, list) else "data"
        try:
            period = read_period(item, where)
            if _is_forecast(period.valid_from, context):
                sink.skip(SKIP_FORECAST_MIX)
            else:
                _add_mix(sink, period.body.get("generationmix"), period, None)
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink.done()


def parse_regional(body: bytes, context: ParseContext) -> Parsed:
    """Read regional forecasts and current mixes, whatever envelope they come in.

    England, Scotland, Wales and GB are sums over areas: they are counted as skipped, and the mix
    of GB (18) is not taken for the national mix. A mix is stored when its half hour has begun by
    ``context.now``; forecast mixes are not stored.
    """
    data = load_data(body)
    if not _looks_regional(data):
        raise invalid(_NAME, "no region in the reply; is it a reply of /regional?", body)
    sink = RowSink()
    known: dict[int, Period | Unusable] = {}
    for where, region_value, period_value in regional_items(data):
        try:
            region = obj(region_value, "region")
            area = area_of(region)
            if area is None:
                sink.skip(SKIP_AGGREGATE)
                continue
            period = _period_once(known, period_value, where)
            # Period-keyed replies hold the figures in the region, region-keyed in the period.
            figures = region if "intensity" in region else period.body
            _add_regional(sink, where, area, period, figures)
            if _is_forecast(period.valid_from, context):
                sink.skip(SKIP_FORECAST_MIX)
            elif figures.get("generationmix") is not None:
                located = Period(where, period.valid_from, period.valid_to, period.body)
                _add_mix(sink, figures["generationmix"], located, area)
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink.done()


def _looks_regional(data: Json) -> bool:
    items = data if isinstance(data, list) else [data]
    return any(
        isinstance(item, dict) and any(key in item for key in ("regions", "regionid", "shortname"))
        for item in items
    )


def _period_once(known: dict[int, Period | Unusable], value: Json, where: str) -> Period:
    # One period object serves 18 regions; reading its instants once saves most of the time. The
    # objects live as long as the reply, so their identity is a sound key.
    found = known.get(id(value))
    if found is None:
        try:
            found = read_period(value, where)
        except Unusable as exc:
            found = exc
        known[id(value)] = found
    if isinstance(found, Unusable):
        raise Unusable(str(found))
    return found


def _add_regional(
    sink: RowSink, where: str, area: int, period: Period, figures: Mapping[str, Json]
) -> None:
    intensity = obj(figures.get("intensity"), "intensity")
    sink.add(
        where,
        CarbonIntensityRegionalRow,
        source=_NAME,
        valid_from=period.valid_from,
        valid_to=period.valid_to,
        region_id=area,
        forecast_gco2_per_kwh=required_number(intensity.get("forecast"), "intensity.forecast"),
        intensity_index=optional_text(intensity.get("index"), "intensity.index"),
    )


def _add_mix(sink: RowSink, mix: Json, period: Period, area: int | None) -> None:
    for path, fuel, share in mix_items(mix):
        where = f"{period.where}.{path}"
        try:
            name = _fuel(fuel)
            percent = required_number(share, "perc")
        except Unusable as exc:
            sink.reject(where, str(exc))
            continue
        columns: dict[str, object] = {
            "source": _NAME,
            "valid_from": period.valid_from,
            "valid_to": period.valid_to,
            "fuel": name,
            "generation_pct": percent,
        }
        if area is None:
            sink.add(where, GenerationMixNationalRow, **columns)
        else:
            sink.add(where, GenerationMixRegionalRow, region_id=area, **columns)


def _fuel(value: Json) -> str:
    if not isinstance(value, str) or value not in FUELS:
        raise Unusable(f"fuel is {describe(value)}; known are {', '.join(sorted(FUELS))}")
    return value


def _is_forecast(valid_from: datetime, context: ParseContext) -> bool:
    return context.now is not None and valid_from > context.now


_INTENSITY = (CarbonIntensityNationalRow.TABLE,)
_MIX = (GenerationMixNationalRow.TABLE,)
_REGIONAL = (CarbonIntensityRegionalRow.TABLE, GenerationMixRegionalRow.TABLE)


def _regional_endpoints() -> dict[str, EndpointParser]:
    spans = {
        "fw24h": "next 24 hours",
        "fw48h": "next 48 hours",
        "pt24h": "past 24 hours",
        "range": "a range of at most 14 days",
    }
    places = {"": "all areas", "-id": "one area by number", "-postcode": "one area by postcode"}
    texts = {
        f"regional{suffix}": f"current half hour, {place}" for suffix, place in places.items()
    } | {
        f"regional-{country}": f"current half hour, {country.capitalize()} (an aggregate: no rows)"
        for country in ("england", "scotland", "wales")
    }
    texts |= {
        f"regional-{span}{suffix}": f"{when}, {place}"
        for span, when in spans.items()
        for suffix, place in places.items()
    }
    return {
        name: EndpointParser(_REGIONAL, f"{text}: forecast, label and current mix", parse_regional)
        for name, text in texts.items()
    }


ENDPOINTS: dict[str, EndpointParser] = {
    "intensity": EndpointParser(_INTENSITY, "half hour last completed", parse_intensity),
    "intensity-date": EndpointParser(_INTENSITY, "a London day or a period of it", parse_intensity),
    "intensity-at": EndpointParser(_INTENSITY, "half hour that holds an instant", parse_intensity),
    "intensity-fw24h": EndpointParser(_INTENSITY, "next 24 hours", parse_intensity_forecast),
    "intensity-fw48h": EndpointParser(_INTENSITY, "next 48 hours", parse_intensity_forecast),
    "intensity-pt24h": EndpointParser(_INTENSITY, "past 24 hours with outturn", parse_intensity),
    "intensity-range": EndpointParser(_INTENSITY, "at most 14 days", parse_intensity),
    "generation": EndpointParser(_MIX, "mix of the half hour last completed", parse_generation),
    "generation-pt24h": EndpointParser(_MIX, "mix of the past 24 hours", parse_generation),
    "generation-range": EndpointParser(_MIX, "mix of at most 14 days", parse_generation),
    **_regional_endpoints(),
}
