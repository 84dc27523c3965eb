"""Commands about tokens: one module for each command."""
