"""The use cases of a sidecar: each decides with the view, and acts through a port."""
