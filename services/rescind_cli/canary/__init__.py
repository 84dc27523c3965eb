"""The canary: a token without power that is revoked on a schedule, and what that measures."""
