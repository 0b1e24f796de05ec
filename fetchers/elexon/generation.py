"""Elexon's generation by fuel into rows, MW of metered transmission; below zero is export.

The half-hourly series is the source's own; the five-minute one and the snapshot have their name
in ``source``, so that two lengths never share a key.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fetchers.elexon.fuels import read_fuel
from fetchers.elexon.wire import (
    FIVE_MINUTES,
    SKIP_EMPTY,
    Fields,
    collect,
    published_at,
    read_five_minutes,
    read_half_hour,
    version_of,
)
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import number
from schema.errors import InputError
from schema.readings import Parsed, Quality, Source
from schema.rows import GenerationMixNationalRow

_NAME = Source.ELEXON.value
SOURCE_FUELINST = f"{_NAME}/fuelinst"
SOURCE_CURRENT = f"{_NAME}/current"


def parse_fuelhh(body: bytes, context: ParseContext) -> Parsed:
    """Read half-hourly generation by fuel, MW; below zero is export or pumping."""
    del context
    return collect(body, "fuelType", _add_fuelhh)


def _add_fuelhh(sink: RowSink, where: str, row: Fields) -> None:
    _add_fuel(sink, where, row, _NAME, read_half_hour(row))


def parse_fuelinst(body: bytes, context: ParseContext) -> Parsed:
    """Read five-minute generation by fuel, MW; below zero is export or pumping."""
    del context
    return collect(body, "fuelType", _add_fuelinst)


def _add_fuelinst(sink: RowSink, where: str, row: Fields) -> None:
    _add_fuel(sink, where, row, SOURCE_FUELINST, read_five_minutes(row))


def _add_fuel(
    sink: RowSink, where: str, row: Fields, source: str, span: tuple[datetime, datetime]
) -> None:
    fuel = read_fuel(row.get("fuelType"))
    generation = number(row.get("generation"), "generation")
    if generation is None:
        sink.skip(SKIP_EMPTY)
        return
    sink.add(
        where,
        GenerationMixNationalRow,
        source=source,
        valid_from=span[0],
        valid_to=span[1],
        issued_at=published_at(row),
        version=version_of(row),
        fuel=fuel,
        generation_mw=generation,
    )


def parse_generation_current(body: bytes, context: ParseContext) -> Parsed:
    """Read the snapshot of generation by fuel.

    The reply holds no time. The five minutes last completed at ``context.now`` are taken, and the
    rows say that they are ``estimated``.

    Raises:
        InputError: Nobody said when the reply was retrieved.
    """
    if context.now is None:
        msg = (
            "generation-current: the reply holds no time; say when it was retrieved "
            "(--retrieved-at 2026-05-01T10:30Z, or captured_at in a capture envelope)"
        )
        raise InputError(msg, field="retrieved_at")
    now = context.now
    end = now - timedelta(minutes=now.minute % 5, seconds=now.second, microseconds=now.microsecond)

    def add(sink: RowSink, where: str, row: Fields) -> None:
        fuel = read_fuel(row.get("fuelType"))
        generation = number(row.get("currentUsage"), "currentUsage")
        if generation is None:
            sink.skip(SKIP_EMPTY)
            return
        share = number(row.get("currentPercentage"), "currentPercentage")
        sink.add(
            where,
            GenerationMixNationalRow,
            source=SOURCE_CURRENT,
            valid_from=end - FIVE_MINUTES,
            valid_to=end,
            quality=Quality.ESTIMATED,
            reason="the reply holds no time; the last five minutes before retrieval are taken",
            fuel=fuel,
            generation_mw=generation,
            generation_pct=share if share is not None and share >= 0 else None,
        )

    return collect(body, "currentUsage", add)
