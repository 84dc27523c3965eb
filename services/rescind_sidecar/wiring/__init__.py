"""The wiring of the sidecar: the one package that imports every adapter."""
