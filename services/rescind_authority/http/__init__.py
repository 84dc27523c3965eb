"""The HTTP API, on FastAPI: `/openapi.json` describes it, errors are problems (RFC 9457)."""
