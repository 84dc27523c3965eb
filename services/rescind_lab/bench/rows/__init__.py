"""The rows of the bench: each module measures the lines of one or two rows."""
