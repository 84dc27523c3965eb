"""NATS: what we push, and what sidecars ask. Driver types stay in here."""
