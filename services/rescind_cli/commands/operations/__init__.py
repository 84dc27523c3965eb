"""Commands that run and maintain an installation: one module for each command."""
