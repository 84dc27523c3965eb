"""Routes of `/v1/revocations` and receipts."""
