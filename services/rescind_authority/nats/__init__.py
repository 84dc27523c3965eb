"""The NATS adapter: published events, and requests of sidecars.

Driver types stay in this package.
"""
