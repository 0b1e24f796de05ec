"""The synthesiser: weather, then generation mix, then intensity, prices and demand.

Same scenario and seed, same tables on any machine: randomness is counter-based, and every step
ends in integers (g, MW, pence), so that a last bit of ``sin`` or a division cannot matter.
"""
