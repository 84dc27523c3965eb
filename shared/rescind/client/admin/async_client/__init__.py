"""The clients for event loops. The package `sync_client` is generated from this one."""
