"""The rows of the bench: each module measures both sides of one comparison."""
