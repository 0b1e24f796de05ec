"""The rules of deciding: market, conversation, accounting, audit. Pure: no Ray, no I/O."""
