"""Is a Supabase fit to work with? Asked before anything is started or written."""

from __future__ import annotations

import asyncio

from schema.errors import SchemaBehind
from storage.embedded.endpoint import SupabaseEndpoint
from storage.migrations import load_migrations
from storage.supabase_store import SupabaseStore


def check_supabase(endpoint: SupabaseEndpoint) -> None:
    """See that it answers, takes rows with our key, and has all our migrations.

    Raises:
        StorageUnavailable: It cannot be reached.
        ConfigurationError: The key is wrong, or is not the secret one.
        SchemaBehind: Migrations are missing.
    """
    found = asyncio.run(_ask(endpoint))
    wanted = int(load_migrations()[-1].version)
    if found < wanted:
        raise SchemaBehind(
            f"the database at {endpoint.url} has migration {found}, this program needs {wanted}; "
            "run `run_cluster.py db migrate`"
        )


async def _ask(endpoint: SupabaseEndpoint) -> int:
    store = SupabaseStore(endpoint.url, endpoint.secret_key)
    try:
        # No rows: whoever may not write is refused all the same.
        await store.ingest({})
        return await store.schema_version()
    finally:
        await store.close()
