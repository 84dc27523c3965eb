"""Demos and measurements on real components. No service imports this package."""
