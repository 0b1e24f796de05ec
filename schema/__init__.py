"""The vocabulary of gridpact: time, places, units, rows, messages and errors.

Imports nothing of ours and does no I/O, so every other package may build on it.
"""
