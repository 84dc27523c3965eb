"""The adapter for Postgres, the only source of truth.

Driver types stay in this package. SQL is in `queries` and `migrations`.
"""
