"""The commands, one module for each verb, grouped by subject; imported when used."""
