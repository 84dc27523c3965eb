"""Postgres, the only truth. Driver types stay in here; SQL lives in `queries` and `migrations`."""
