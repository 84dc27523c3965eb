"""Help texts: an example in each `--help`, and the name that was meant."""
