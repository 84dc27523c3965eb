"""The canary: a token without permissions that is revoked on a schedule, to measure enforcement."""
