"""Figures of the way into the database."""
