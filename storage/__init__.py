"""Persistence: the spool, the storage actor, and the Supabase it drains into."""
