"""Programs that the rows start with `python -m`: loads, alternatives, and isolated measurements."""
