"""Checks that authorities wrote the data in Postgres: MACs of rows, and a ledger index."""
