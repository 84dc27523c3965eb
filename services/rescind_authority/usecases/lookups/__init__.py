"""Answer which token a secret belongs to, and notice a rotated secret that is used again."""
