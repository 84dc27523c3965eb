"""The output of commands: texts, tables, JSON, receipts as they arrive, and exit codes."""
