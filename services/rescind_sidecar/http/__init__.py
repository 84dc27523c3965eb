"""The data plane for proxies and for languages without a client."""
