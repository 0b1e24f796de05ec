"""Figures of the market on this machine, beside those of what is used today."""
