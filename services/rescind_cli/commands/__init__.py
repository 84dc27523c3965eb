"""The commands, one file a verb, by what they are about; each is imported when it is used."""
