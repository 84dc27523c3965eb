"""The interfaces that the use cases need; the driven adapters implement them.

Every method that reads or writes Postgres raises StoreUnavailableError (or a subclass) when it
cannot answer.
"""
