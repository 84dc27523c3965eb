"""The counters and histograms of a sidecar's metrics."""
