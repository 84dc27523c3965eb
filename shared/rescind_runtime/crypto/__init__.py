"""Signatures, encryption, and the keys whose signatures are trusted."""
