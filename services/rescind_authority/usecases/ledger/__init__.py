"""Write the ledger, publish it, and recover what a restore lost."""
