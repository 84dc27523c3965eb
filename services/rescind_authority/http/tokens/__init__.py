"""Routes of `/v1/tokens`, `/v1/delegations` and `/oauth/token`."""
