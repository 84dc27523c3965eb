"""The use cases of the authority, on top of its ports. No driver, no HTTP, no environment."""
