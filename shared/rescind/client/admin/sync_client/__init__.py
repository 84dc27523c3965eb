# Generated from async_client/__init__.py by `python -m tests.support.sync_client`: edit that.
"""The clients for threads."""
