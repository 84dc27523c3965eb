"""Construction of the authority from its parts, in the one package that uses every adapter."""
