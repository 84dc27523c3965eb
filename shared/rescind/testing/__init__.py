"""Fakes for users' own tests: no sidecar, no authority, the same rules and the same verdicts."""

from rescind.testing.verifier import FakeVerifier, Issued

__all__ = ["FakeVerifier", "Issued"]
