"""How our processes live: clocks, signals, settings, logs, and the servers of `rescind up`."""
