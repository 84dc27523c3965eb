"""What commands take: the options of every call to the authority, and the types of options."""
