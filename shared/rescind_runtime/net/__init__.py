"""Connect to servers, and serve HTTP."""
