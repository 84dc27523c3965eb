"""Write the ledger, publish it, and recover events that a restore lost."""
