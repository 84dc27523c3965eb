"""The use cases that follow the ledger and acknowledge positions."""
