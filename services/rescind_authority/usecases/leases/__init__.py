"""Enrol sidecars, authenticate their messages, and grant leases."""
