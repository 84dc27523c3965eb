"""The rules, pure: no I/O, no clock, no dice. Time, randomness and keys come in as arguments."""
