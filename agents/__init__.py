"""Deciding and running: the market, its manager, its contractors, and their actors."""
