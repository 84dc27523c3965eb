"""The HTTP data plane, for proxies and for languages without a client library."""
