"""Commands that run and look after an installation: one module a command."""
