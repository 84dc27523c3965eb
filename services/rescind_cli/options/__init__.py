"""The options of every call to the authority, and the types of options."""
