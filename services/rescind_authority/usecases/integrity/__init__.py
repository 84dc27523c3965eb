"""Report rows that fail their MAC, and renew the MACs of the others."""
