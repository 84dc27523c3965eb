"""Help texts: an example in each `--help`, and suggestions for misspelt names."""
