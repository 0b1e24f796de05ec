"""Getting grid data in: one fetcher a source, from request to checked rows."""
