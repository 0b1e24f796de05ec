"""The market: a certified congestion-price negotiation, pure and the same wherever it runs."""
