"""Elexon Insights: prices, demand outturn and forecast, generation by fuel."""
