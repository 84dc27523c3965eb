"""Commands that revoke, and commands that show revocations: one module for each command."""
