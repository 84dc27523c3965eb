"""The operator's commands on the authority's host."""
