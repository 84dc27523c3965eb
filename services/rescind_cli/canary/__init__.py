"""The canary: a token without power that is revoked on a schedule, to measure enforcement."""
