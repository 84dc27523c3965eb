"""Follow the ledger, and acknowledge how far."""
