"""What the authority does, told in ports. No driver, no HTTP, no environment."""
