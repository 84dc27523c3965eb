"""What a sidecar does. Each use case decides with the view, and acts through a port."""
