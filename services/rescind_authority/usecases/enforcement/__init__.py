"""Wait until no verifier accepts what was revoked, and sign receipts."""
