"""The sidecar's gRPC: Envoy's external authorization, in a process of its own."""
