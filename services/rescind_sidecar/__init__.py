"""The sidecar: a verifier's memory beside a service, kept true by events and leases."""
