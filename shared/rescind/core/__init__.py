"""The rules as pure functions, without I/O: time, randomness and keys are arguments."""
