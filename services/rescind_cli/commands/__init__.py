"""The commands, one file a verb; each is imported when it is used."""
