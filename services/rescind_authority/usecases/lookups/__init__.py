"""Look up tokens by their secrets, and detect the reuse of rotated secrets."""
