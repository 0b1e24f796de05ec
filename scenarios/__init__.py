"""Scenario files, their transport in the sources' wire formats, and the replay of a run."""
