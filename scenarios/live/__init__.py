"""The live run: a scenario that the world plays."""
