"""What operators do beside running: check, record, backfill."""
