"""Commands that revoke, and those that show what was revoked: one module a command."""
