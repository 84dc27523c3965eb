"""The sidecar, a process beside a service that answers checks from memory.

Events and leases keep its memory current.
"""
