"""The runtime of our processes: clocks, signals, settings, logs, the servers of `rescind up`."""
