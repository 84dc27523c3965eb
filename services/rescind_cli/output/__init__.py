"""What commands print: texts, tables, JSON, receipts as they come, and exit codes."""
