"""The names by which rescind's own tokens are known: where they are good, and for what."""

AUDIENCE = "rescind"
"""The audience of every token that is for rescind itself."""

VERIFY = "rescind:verify"
"""The scope of a service's credential: it enrols sidecars, and does nothing else."""
