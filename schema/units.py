"""Units that are converted, in one place.

Powers are kW, energies kWh, prices GBP (per MWh at sources, per kWh in the market), carbon
gCO2/kWh as intensity and grams as an amount. Positive interconnector flow is import.
"""

from __future__ import annotations

HOURS_PER_PERIOD = 0.5
KW_PER_MW = 1000.0
KWH_PER_MWH = 1000.0
GRAMS_PER_KG = 1000.0
KG_PER_TONNE = 1000.0
WATTS_PER_KW = 1000


def mw_to_kw(megawatts: float) -> float:
    """Convert power."""
    return megawatts * KW_PER_MW


def gbp_per_mwh_to_gbp_per_kwh(price: float) -> float:
    """Convert a price."""
    return price / KWH_PER_MWH


def period_energy_kwh(power_kw: float, periods: int) -> float:
    """Energy that a constant power uses in a number of half hours."""
    return power_kw * HOURS_PER_PERIOD * periods
