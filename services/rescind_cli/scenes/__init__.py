"""Scenes: rescind on real components, measured. Each process of a scene is a module here."""
