"""Serve `/v1/revocations` and receipts."""
