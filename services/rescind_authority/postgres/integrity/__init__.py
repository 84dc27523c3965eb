"""Whether Postgres shows what authorities wrote: MACs of rows, and an index of the ledger."""
