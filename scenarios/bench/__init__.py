"""Figures of replays."""
