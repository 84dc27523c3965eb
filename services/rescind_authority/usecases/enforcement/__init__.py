"""Wait until revocations are enforced, and sign receipts."""
