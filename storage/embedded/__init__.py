"""Supabase on this machine: real PostgreSQL 17 and a Supabase-compatible API, started by us.

``attach.attach_or_start`` is what the rest of gridpact uses; ``supervisor.EmbeddedSupabase``
owns the two processes; everything listens on 127.0.0.1 only.
"""
