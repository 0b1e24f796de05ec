"""The four sources' replies, written from their documentation and never from our parsers.

Each module answers one source's requests for a scenario at a virtual now, in the source's own
shapes and spellings, with only what the source would have published by then.
"""
