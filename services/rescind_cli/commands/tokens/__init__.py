"""Commands about tokens: one module a command."""
