"""What the use cases ask of the world around them; the driven adapters answer.

Every verb that reads or writes Postgres raises StoreUnavailableError (or one of its kind) when it
cannot answer.
"""
