"""Beckn compute-energy: discovery of windows, and orders for them."""
