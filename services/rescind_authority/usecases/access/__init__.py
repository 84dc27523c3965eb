"""Decide who may call, what they may change, and how often. Audit refusals."""
