"""Fakes for users' tests: the same rules and verdicts without a sidecar or an authority."""

from rescind.testing.verifier import FakeVerifier, Issued

__all__ = ["FakeVerifier", "Issued"]
